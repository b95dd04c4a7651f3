import shutil
from itertools import combinations

import numpy as np
import pytest

from segmentation.data import dsb2018 as bowl
from segmentation.data.checks import check_across
from segmentation.data.dataset import main
from segmentation.data.decoding import load_samples
from segmentation.data.groups import find_groups
from segmentation.data.layouts import find_data_set
from segmentation.data.splits import draw_split, read_split


def test_a_sound_data_set_exits_with_0(tmp_path, write_bowl, nuclei, capsys):
    root = write_bowl(tmp_path / "data", dict.fromkeys("abcd", nuclei) | {"void": np.zeros_like(nuclei)})
    (tmp_path / "split.csv").write_text("id,subset,kind\na,train,\nb,train,\nc,val,\nd,test,\n")
    assert main([str(root), "--split", str(tmp_path / "split.csv")]) == 0
    printed = capsys.readouterr()
    assert "layout: one file a nucleus" in printed.out and "5 samples, 16 nuclei" in printed.out
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["kind", "images", "nuclei", "train", "val", "test", "no", "subset"] in lines
    assert ["fluorescence", "5", "16", "2", "1", "1", "1"] in lines
    assert "warning: no nuclei (1)\n  void/images/void.png\n" in printed.out
    assert printed.out.endswith("0 fatal problems, 2 warnings\n") and not printed.err
    assert main([str(root)]) == 0 and "no subset" not in capsys.readouterr().out


def test_every_problem_is_printed_and_exits_with_1(tmp_path, write_pairs, nuclei, capsys):
    root = write_pairs(tmp_path, dict.fromkeys("abcdef", nuclei))
    for name in "ab":
        (root / "images" / f"{name}.png").write_bytes(b"")
    shutil.copy(root / "images" / "c.png", root / "images" / "d.png")
    (root / "masks" / "e.png").unlink()
    assert main([str(root)]) == 1
    printed = capsys.readouterr().out
    assert "FATAL: unreadable image (2)\n  images/a.png: " in printed and "\n  images/b.png: " in printed
    assert "FATAL: image without masks (1)\n  images/e.png\n" in printed
    assert "warning: the same picture under two names (1)\n  images/d.png: as " in printed
    assert printed.endswith("3 fatal problems, 1 warnings\n")


def test_what_cannot_be_used_exits_with_2(tmp_path, write_bowl, nuclei, capsys):
    assert main([str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err
    root = write_bowl(tmp_path / "data", dict.fromkeys("ab", nuclei))
    assert main([str(root), "--split", str(tmp_path / "absent.csv")]) == 2
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def real(dsb2018):
    """The Bowl's training set, decoded once: data set, split, fingerprints, numbers of nuclei, problems."""
    data_set = find_data_set(dsb2018 / "stage1_train.zip")
    fingerprints, nuclei, found = {}, {}, []
    for loaded in load_samples(data_set.samples):
        fingerprints[loaded.sample.id] = loaded.fingerprint
        nuclei[loaded.sample.id] = int(loaded.labels.max())
        found += loaded.problems
    return data_set, read_split(dsb2018 / "split.csv"), fingerprints, nuclei, found


def test_real_data_are_complete_and_sound(real):
    data_set, split, fingerprints, nuclei, found = real
    assert data_set.layout == "one file a nucleus"
    assert len(data_set.samples) == 664 and sum(nuclei.values()) == 28_986
    assert sum(len(sample.masks.files) for sample in data_set.samples) == 28_986
    assert not [problem for problem in found + check_across(data_set.samples, fingerprints, split) if problem.fatal]


def test_real_kinds_are_those_of_the_split(real):
    _, split, fingerprints, _, _ = real
    agree = sum(fingerprints[sample_id].kind == row.kind for sample_id, row in split.items())
    assert agree >= 0.99 * len(split)


def test_real_groups_are_those_of_the_split(real):
    _, split, fingerprints, _, _ = real
    found = find_groups(fingerprints)

    def pairs(groups):
        return {pair for pair in combinations(sorted(groups), 2) if groups[pair[0]] == groups[pair[1]]}

    truth = pairs({sample_id: row.group for sample_id, row in split.items()})
    both = truth & pairs(found)
    assert len(both) >= 0.98 * len(truth) and len(both) >= 0.98 * len(pairs(found))
    drawn = draw_split({i: marks.kind for i, marks in fingerprints.items()}, found, seed=0)
    for kind in ("fluorescence", "stained", "smear"):
        assert {row.subset for row in drawn.values() if row.kind == kind} == {"train", "val", "test"}


def test_real_archive_has_the_documented_content(dsb2018, tmp_path):
    (tmp_path / "dsb2018.zip").symlink_to(dsb2018.resolve() / "stage1_train.zip")
    folder = bowl.fetch("dsb2018", tmp_path)
    assert len(find_data_set(folder).samples) == 664

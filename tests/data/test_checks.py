import shutil

import numpy as np
import pytest

from segmentation.data import problems
from segmentation.data.checks import check_across
from segmentation.data.decoding import load_samples
from segmentation.data.layouts import find_samples
from segmentation.data.splits import SplitRow


@pytest.fixture
def root(tmp_path, write_bowl, nuclei):
    return write_bowl(tmp_path, dict.fromkeys("abcdef", nuclei))


def check_samples(samples, split=None):
    """All problems: those of single samples in their order, then those between samples."""
    loaded = list(load_samples(samples))
    found = [problem for one in loaded for problem in one.problems]
    return found + check_across(samples, {one.sample.id: one.fingerprint for one in loaded}, split)


def split(**subsets):
    return {i: SplitRow(subset, "fluorescence", i) for subset, ids in subsets.items() for i in ids}


def test_a_sound_data_set_has_no_problems(root):
    assert check_samples(find_samples(root), split(train="abcd", val="e", test="f")) == []


def test_all_problems_are_reported_at_once(root, write_picture):
    (root / "a" / "images" / "a.png").write_text("no picture")
    shutil.rmtree(root / "b" / "masks")
    write_picture(root / "c" / "masks" / "0001.png", np.full((5, 5), 255, np.uint8))
    write_picture(root / "d" / "masks" / "0001.png", np.full((48, 64), 255, np.uint8))
    shutil.copy(root / "e" / "images" / "e.png", root / "f" / "images" / "f.png")
    found = check_samples(find_samples(root), split(train="abde", val="f", test=["gone"]))
    summary = [(problem.sample_id, problem.what, problem.fatal) for problem in found]
    assert summary[:3] == [
        ("a", problems.UNREADABLE_IMAGE, True),
        ("b", problems.NO_MASKS, True),
        ("c", problems.SIZE_DIFFERS, True),
    ]
    assert set(summary[3:]) == {
        ("d", problems.OVERLAP, True),
        ("f", problems.PICTURE_ON_BOTH_SIDES, True),
        ("c", problems.NOT_IN_SPLIT, False),
        ("gone", problems.NOT_IN_DATA, False),
        ("", problems.EMPTY_SUBSET, False),
    }
    assert all(problem.file for problem in found)


def test_the_same_picture_in_one_subset_is_a_warning(root, write_picture):
    pixels = find_samples(root)[0].read_image().pixels
    (root / "b" / "images" / "b.png").unlink()
    write_picture(root / "b" / "images" / "b.tif", pixels)
    found = check_samples(find_samples(root), split(train="abcd", val="e", test="f"))
    assert [(problem.sample_id, problem.what, problem.fatal) for problem in found] == [
        ("b", problems.SAME_PICTURE, False)
    ]
    assert found[0].detail.endswith("a.png")
    assert [problem.fatal for problem in check_samples(find_samples(root))] == [False]
    found = check_samples(find_samples(root), split(train="acd", val="be", test="f"))
    assert found[0].fatal and found[0].detail.endswith("val and train")


def test_a_divided_group_and_an_empty_train_subset_are_fatal(root):
    samples = find_samples(root)
    fingerprints = {loaded.sample.id: loaded.fingerprint for loaded in load_samples(samples)}
    table = split(val="abc", test="de") | {"f": SplitRow("test", None, "a")}
    found = check_across(samples, fingerprints, table)
    assert [(problem.what, problem.fatal) for problem in found] == [
        (problems.GROUP_ON_BOTH_SIDES, True),
        (problems.EMPTY_SUBSET, True),
    ]
    assert found[0].detail == "group a: 1 in val, 1 in test"

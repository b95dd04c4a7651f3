import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

import evaluate_masks
from segmentation import __version__

SCRIPT = Path(evaluate_masks.__file__)
SAMPLE = SCRIPT.parent / "data" / "sample" / "test"


@pytest.fixture
def truth(tmp_path):
    folder = tmp_path / "truth"
    folder.mkdir()
    for number, name in enumerate("abcd", 1):
        labels = np.zeros((30, 30), np.uint16)
        labels[2:12, 2:12] = 1
        labels[2:12, 15 : 15 + 2 * number] = 2
        tifffile.imwrite(folder / f"{name}.tif", labels)
    return folder


@pytest.fixture
def predictions(truth, tmp_path):
    folder = tmp_path / "predictions" / "labels"
    folder.mkdir(parents=True)
    for file in truth.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder.parent


def run(*arguments):
    return evaluate_masks.main([str(argument) for argument in arguments])


def test_perfect_predictions(predictions, truth, capsys):
    assert run(predictions, truth) == 0
    out, err = capsys.readouterr()
    assert out.startswith("4 images in 4 groups, 8 nuclei in the truth, 8 predicted\n")
    assert re.findall(r"\d\.\d{4} .*", out) == ["1.0000  1.0000 - 1.0000"] * 13
    assert err == ""


def test_the_sample_scores_perfectly_against_itself(tmp_path, capsys):
    assert run(SAMPLE / "masks", SAMPLE) == 0
    assert capsys.readouterr().out.startswith("8 images")


def test_missing_unreadable_and_extra_predictions_are_named(predictions, truth, capsys):
    (predictions / "labels" / "a.tif").unlink()
    (predictions / "labels" / "b.tif").write_bytes(b"no image")
    tifffile.imwrite(predictions / "labels" / "zebra.tif", np.zeros((3, 3), np.uint8))
    assert run(predictions, truth) == 1
    out, err = capsys.readouterr()
    assert re.search(r"Dice +0\.5000", out) and re.search(r"AP 0\.50 +0\.5000", out)
    assert "counted as empty: a: no prediction" in err
    assert re.search(r"counted as empty: .*b\.tif", err)
    assert re.search(r"predictions without an image in .*: 1 \(zebra\)", err)


def test_masks_that_are_not_what_they_seem_are_said(tmp_path, capsys):
    for file in sorted((SAMPLE / "masks").iterdir())[:4]:
        mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        for name, stored in (("truth", mask), ("binary", np.where(mask > 0, 0, 255).astype(np.uint8))):
            for folder in ("masks", "images"):
                (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / name / "masks" / file.name), stored)
            shutil.copy(SAMPLE / "images" / file.name, tmp_path / name / "images")
    assert run(tmp_path / "truth" / "masks", tmp_path / "truth") == 0
    assert not capsys.readouterr().err
    assert run(tmp_path / "truth" / "masks", tmp_path / "binary") == 0
    assert re.search(r"mask that looks inverted.*: 4 \(", capsys.readouterr().err)
    assert run(tmp_path / "binary" / "masks", tmp_path / "truth") == 0
    err = capsys.readouterr().err
    assert re.search(r"binary mask, in which nuclei that touch are one: \d \(.*binary/masks/", err)


def test_json_holds_all_figures(predictions, truth, tmp_path):
    assert run(predictions, truth, "--output", tmp_path / "scores.json") == 0
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["figures"]["mean_ap"] == {"value": 1, "low": 1, "high": 1}
    assert written["version"] == __version__
    assert written["images"] == 4 and list(written["per_image"]) == list("abcd")


def test_no_interval_of_a_single_group(predictions, truth, capsys):
    for name in "bcd":
        (truth / f"{name}.tif").unlink()
    assert run(predictions, truth) == 0
    assert re.search(r"Dice +1\.0000\n", capsys.readouterr().out)


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--version")
    assert stopped.value.code == 0 and __version__ in capsys.readouterr().out


def test_subset_of_a_split(predictions, truth, tmp_path, capsys):
    split = tmp_path / "split.csv"
    split.write_text("id,subset,kind,group\na,test,stained,1\nb,test,smear,1\nc,train,smear,2\ne,test,smear,3\n")
    assert run(predictions, truth, "--split", split) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 images (1 smear, 1 stained) in 1 group, 4 nuclei")
    assert re.search(r"images of the subset that are not in .*: 1 \(e\)", err) and "predictions without" not in err
    assert run(predictions, truth, "--split", split, "--subset", "train") == 0
    assert capsys.readouterr().out.startswith("1 image (1 smear) in 1 group")


def test_another_size_is_named_and_the_others_are_scored(predictions, truth, tmp_path, capsys):
    tifffile.imwrite(predictions / "labels" / "c.tif", np.zeros((30, 31), np.uint8))
    assert run(predictions, truth, "--output", tmp_path / "scores.json") == 1
    out, err = capsys.readouterr()
    assert "c.tif has 30 x 31 pixels" in err
    assert out and (tmp_path / "scores.json").exists()


def test_no_prediction_fits(predictions, truth, capsys):
    for file in list((predictions / "labels").iterdir()):
        file.rename(file.with_stem(f"{file.stem}_mask"))
    assert run(predictions, truth) == 2
    assert "none of the 4 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{p}", "{t}", "--subset", "test"], "without --split"),
        (["{p}", "{t}", "--output", "{t}/absent/scores.json"], "expected a file, in a folder that exists"),
        (["{p}", "{t}", "--output", "{p}"], "expected a file, in a folder that exists"),
        (["{p}"], "required: TRUTH"),
    ],
)
def test_unusable_command_lines(predictions, truth, arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*(argument.format(p=predictions, t=truth) for argument in arguments))
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody may write to")
def test_an_output_that_cannot_be_written_is_named_and_the_scores_are_printed(predictions, truth, capsys):
    assert run(predictions, truth, "--output", "/proc/scores.json") == 2
    out, err = capsys.readouterr()
    assert "Dice" in out and "'/proc/scores.json'" in err


def test_missing_folders_are_unusable(predictions, truth, tmp_path, capsys):
    assert run(tmp_path / "absent", truth) == 2
    assert run(predictions, tmp_path / "absent") == 2
    assert run(predictions, truth, "--split", tmp_path / "absent.csv") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) >= 3


def test_a_package_that_is_missing_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert evaluate_masks.main([str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("evaluate_masks.py: the package tqdm is not installed; activate")


def test_help_imports_nothing_heavy():
    code = "import sys, evaluate_masks\ntry: evaluate_masks.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numpy', 'cv2', 'scipy', 'tifffile', 'tqdm', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert "exit status" in result.stdout

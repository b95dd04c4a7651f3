"""Benchmarks of a trained model run on the sample images, and give plausible figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(name, *options):
    command = [sys.executable, ROOT / "benchmarks" / name, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_scores_are_measured():
    result = run("scores.py")
    assert result.returncode == 0, result.stderr
    figures = dict(re.findall(r"^(.+?) +(0\.\d{3}) \(", result.stdout, re.MULTILINE))
    assert 0.8 < float(figures["area under the ROC curve, IoU > 0.5"]) < 1
    assert "8 images, " in result.stdout


@pytest.mark.parametrize("name", ["scores.py", "robustness.py"])
def test_a_subset_without_images_is_named(name):
    result = run(name, "--split", ROOT / "data/dsb2018_split.csv", "--subset", "test")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "of the subset test of" in result.stderr


def test_a_kind_that_no_image_has_is_named(tmp_path):
    split, model = ROOT / "data/dsb2018_split.csv", ROOT / "models/nuclei"
    options = "--data", ROOT / "data/sample/test", "--split", split, "--work", tmp_path / "work", "--model", model
    result = run("choosing.py", *options, "--kind", "pink")
    assert result.returncode == 1 and not (tmp_path / "work").exists()
    assert result.stderr == f"{split} has 0 fields of the kind pink in train; expected 2 or more\n"

"""The Python of README.md and CONTRIBUTING.md, run as it stands."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import predict_masks
from segmentation.results import formats

ROOT = Path(__file__).parents[1]
BUILD = re.search(r"## Build on it\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.DOTALL)[1]
EXAMPLE, LOSS = re.findall(r"```python\n(.*?)```", BUILD, re.DOTALL)


def run(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    return tmp_path


@pytest.mark.slow
def test_the_parts_wired_by_hand(folder):
    output = run(folder, "-c", EXAMPLE)
    figures = re.findall(r"- dice: ([\d.]+) - loss: ([\d.]+) - val_dice: ([\d.]+) - val_loss: ([\d.]+)", output)
    assert len(figures) == 2 and float(figures[1][1]) < float(figures[0][1])  # the loss falls
    assert (folder / "foreground.keras").exists()


@pytest.mark.slow
def test_train_with_a_loss_of_ones_own(folder):
    line = re.search(r"as `(loss=MyLoss.*?)` in place", BUILD)[1]
    script, count = re.subn(r"^( +)loss=.*$", rf"\1{line}", (ROOT / "train.py").read_text(), flags=re.MULTILINE)
    assert count == 1
    head, separator, rest = script.partition("def train(")
    (folder / "train.py").write_text(f"{head}{LOSS}\n\n{separator}{rest}")
    (folder / "models").mkdir()
    tiny = "--base-filters 4 --depth 2 --crop-size 32 --batch-size 2 --epochs 1 --output models/mine".split()
    run(folder, "train.py", *tiny)
    assert (folder / "models" / "mine" / "bundle.json").exists()


def test_the_output_format_of_contributing(tmp_path, monkeypatch):
    module, line = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[:2]
    centres = ModuleType("segmentation.results.centres")
    exec(module, centres.__dict__)
    monkeypatch.setitem(sys.modules, centres.__name__, centres)
    for name, entry in eval("{" + line + "}").items():
        monkeypatch.setitem(formats.FORMATS, name, entry)
    image = ROOT / "data" / "sample" / "test" / "images" / "fluorescence_01.png"
    assert predict_masks.main([str(image), "--outputs", "centres", "table", "--output", str(tmp_path)]) == 0
    with (tmp_path / "nuclei.csv").open() as table:
        expected = [(float(row["centroid_y"]), float(row["centroid_x"])) for row in csv.DictReader(table)]
    written = np.loadtxt(tmp_path / "centres" / "fluorescence_01.txt")
    np.testing.assert_allclose(written, expected, atol=0.006)

"""The site is made without a warning, and each recipe runs as it stands, on pictures that have the names it uses."""

import csv
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
SAMPLE = ROOT / "data" / "sample" / "train" / "images"

pytestmark = pytest.mark.slow


def run(folder, *command):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MPLBACKEND": "agg",
    }
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{command[-1]}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_the_site_is_made_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="requirements/docs.txt is not installed")
    run(ROOT, sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(tmp_path))
    api = (tmp_path / "api.html").read_text(encoding="utf-8")
    from segmentation import __all__ as names

    assert [name for name in names if f'id="segmentation.{name}"' not in api] == ["ENCODINGS"]


def test_all_recipes_are_on_the_site():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"^recipes/(\w+)$", index, re.MULTILINE) and all(
        f"recipes/{recipe.stem}\n" in index for recipe in RECIPES
    )


@pytest.fixture
def folder(tmp_path):
    """A checkout with the pictures that the recipes name."""
    for name in ("segmentation", "predict_masks.py", "train.py", "evaluate_masks.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "nuclei").symlink_to(ROOT / "models" / "nuclei")
    fluorescence = sorted(SAMPLE.glob("fluorescence*.png"))[:6]
    for place in "plate", "my_images":
        (tmp_path / place).mkdir()
    for file, field in zip(fluorescence, ("A01_f1", "A01_f2", "B07_f1", "B07_f2", "H12_f1", "H12_f2"), strict=True):
        tifffile.imwrite(tmp_path / "plate" / f"{field}.tif", cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
        shutil.copy(file, tmp_path / "my_images")
    tifffile.imwrite(tmp_path / "plate" / "C03_f1.tif", np.zeros((128, 128), np.uint8))
    shutil.copy(fluorescence[0], tmp_path / "cells.png")
    planes = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)[:128, :128] for file in fluorescence[:3]]
    tifffile.imwrite(tmp_path / "stack.tif", np.stack(planes), photometric="minisblack")
    stained = cv2.imread(str(sorted(SAMPLE.glob("stained*.png"))[0]))[..., ::-1]
    slide, resolution = np.tile(stained, (3, 3, 1)), (1e4 / 0.5, 1e4 / 0.5)
    tifffile.imwrite(
        tmp_path / "slide.tif", slide, tile=(256, 256), photometric="rgb", resolution=resolution, resolutionunit=3
    )
    return tmp_path


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_runs(folder, recipe):
    if recipe.stem == "cluster":
        pytest.importorskip("distributed", reason="requirements/cluster.txt is not installed")
    fence = re.compile(r"^ *```(bash|python)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    blocks = fence.findall(recipe.read_text(encoding="utf-8"))
    assert blocks
    for language, block in blocks:
        code = textwrap.dedent(block)
        # Five minutes of training are none of a test.
        code = code.replace("--time-limit 5", "--epochs 1 --crop-size 64 --batch-size 2")
        command = ["bash", "-e", "-m", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        run(folder, *command)
    if recipe.stem == "wells":
        with (folder / "wells.csv").open(newline="") as stream:
            wells = {row["well"]: row for row in csv.DictReader(stream)}
        assert float(wells["C03"]["nuclei"]) == 0, "a well without nuclei is a result, too"
        assert float(wells["A01"]["nuclei"]) > 0

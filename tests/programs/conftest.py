import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ["fluorescence_01", "stained_03"]
PIXEL_SIZE_UM = 0.325


@pytest.fixture(scope="session")
def predicted(tmp_path_factory):
    """A folder with `images/`, their true `masks/`, and the `results/` of predict_masks.py."""
    folder = tmp_path_factory.mktemp("programs")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
        for name in NAMES:
            shutil.copy(REPOSITORY / "data" / "sample" / "test" / kind / f"{name}.png", folder / kind)
    command = [sys.executable, "predict_masks.py", folder / "images", "--output", folder / "results"]
    command += ["--outputs", "labels", "rois", "geojson", "table", "rle", "--pixel-size", str(PIXEL_SIZE_UM)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    return folder

"""The README's walk from predicted masks by way of napari or Fiji to a model of one's own, without the two programs.

What they write is written here as they write it: napari saves a labels layer by tifffile, Fiji writes big-endian TIFF
with ImageJ's metadata.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segmentation.bundle import load_bundle
from segmentation.data.layouts import find_samples

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = REPOSITORY / "data" / "sample" / "test" / "images"
NAMES = ["fluorescence_01", "fluorescence_02", "stained_03"]


def save_as_napari(file, label_map):
    tifffile.imwrite(file, label_map, compression="zlib")


def save_as_fiji(file, label_map):
    tifffile.imwrite(file, label_map.astype(np.uint16), byteorder=">", imagej=True)


def correct(label_map):
    """Take out one nucleus, cut a piece off another, add one where there was none."""
    corrected = label_map.copy()
    corrected[corrected == 1] = 0
    rows, columns = np.nonzero(corrected == 2)
    corrected[rows[rows > np.median(rows)], columns[rows > np.median(rows)]] = 0
    corner = corrected[:12, :12]
    corner[...] = 0
    corner[2:9, 2:10] = label_map.max() + 1
    return corrected


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """The folder to train on, and the label maps as the user left them."""
    folder = tmp_path_factory.mktemp("correcting")
    images = folder / "my_images" / "images"
    images.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(SAMPLE / f"{name}.png", images)
    command = [sys.executable, "predict_masks.py", images, "--output", folder / "results", "--outputs", "labels"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    shutil.copytree(folder / "results" / "labels", folder / "my_images" / "masks")
    label_maps = {}
    for name, save in zip(NAMES, (save_as_napari, save_as_fiji, save_as_napari), strict=True):
        file = folder / "my_images" / "masks" / f"{name}.tif"
        label_maps[name] = correct(tifffile.imread(file))
        save(file, label_maps[name])
    return folder / "my_images", label_maps


def test_corrected_masks_are_read_as_the_user_left_them(corrected):
    folder, label_maps = corrected
    samples = {sample.id: sample for sample in find_samples(folder)}
    assert samples.keys() == label_maps.keys()
    for name, label_map in label_maps.items():
        read = samples[name].read_labels(samples[name].read_image().pixels.shape[:2])
        assert len(np.unique(read)) == len(np.unique(label_map)) > 10
        pairs = np.unique(np.stack([read.ravel(), label_map.ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(label_map))  # one to one: only the numbers may differ


def test_the_released_model_goes_on_learning_from_them(corrected, tmp_path):
    folder, _ = corrected
    script = shutil.copy(REPOSITORY / "train.py", tmp_path)  # beside it lies the cache
    command = [sys.executable, script, "--data", folder, "--init", REPOSITORY / "models" / "nuclei"]
    command += ["--output", tmp_path / "mine", "--epochs", "1", "--crop-size", "64", "--batch-size", "2"]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    released, mine = load_bundle(REPOSITORY / "models" / "nuclei"), load_bundle(tmp_path / "mine")
    assert mine.training["init"] == {"model": "nuclei", "digest": released.digest}
    assert mine.scores["figures"]["dice"]["value"] > 0.5  # new weights would be at chance after sixteen steps

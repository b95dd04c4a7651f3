"""The README's walk from predicted masks by way of napari, Fiji or QuPath to a model of one's own, without them.

What they write is written here as they write it: napari saves a labels layer by tifffile, Fiji writes big-endian TIFF
with ImageJ's metadata.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import roifile
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


def correct_in_fiji(file):
    """Delete the first selection, draw the second anew, add one, and save as the ROI Manager does."""
    selections = roifile.roiread(file)[1:]
    selections[0] = roifile.ImagejRoi.frompoints(np.array([[30, 20], [44, 20], [44, 33], [30, 33]]), name="redrawn")
    selections.append(roifile.ImagejRoi.frompoints(np.array([[2, 2], [10, 2], [10, 9], [2, 9]])))
    file.unlink()
    roifile.roiwrite(file, selections)


def correct_in_qupath(file):
    """The same; QuPath writes a collection of features, and drawn objects are annotations."""
    collection = json.loads(file.read_text())
    features = collection["features"] if isinstance(collection, dict) else collection
    drawn = [[[30, 20], [44, 20], [44, 33], [30, 33], [30, 20]]], [[[2, 2], [10, 2], [10, 9], [2, 9], [2, 2]]]
    redrawn, added = (
        {
            "type": "Feature",
            "id": f"8a5bd3ba-0000-4000-8000-00000000000{number}",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "properties": {"objectType": "annotation"},
        }
        for number, rings in enumerate(drawn)
    )
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [redrawn, *features[2:], added]}))


@pytest.mark.parametrize(("format", "correct"), [("rois", correct_in_fiji), ("geojson", correct_in_qupath)])
def test_outlines_corrected_in_fiji_or_qupath_are_trained_on_and_scored_against(tmp_path, format, correct):
    folder, results = tmp_path / "my_images", tmp_path / "results"
    (folder / "images").mkdir(parents=True)
    for name in NAMES:
        shutil.copy(SAMPLE / f"{name}.png", folder / "images")

    def run(script, *options):
        command = [sys.executable, script, *map(str, options)]
        ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    run("predict_masks.py", folder / "images", "--output", results, "--outputs", "labels", format)
    shutil.copytree(results / format, folder / format)
    for name in NAMES:
        (file,) = (folder / format).glob(f"{name}.*")
        correct(file)
    for sample in find_samples(folder):
        before = tifffile.imread(results / "labels" / f"{sample.id}.tif")
        after = sample.read_labels(before.shape)
        kept = [number for number in range(3, before.max() + 1) if not ((before == number) & drawn_over(before)).any()]
        matched = [np.bincount(after[before == number]).argmax() for number in kept]
        overlaps = [
            np.sum((before == number) & (after == other)) / np.sum((before == number) | (after == other))
            for number, other in zip(kept, matched, strict=True)
        ]
        assert len(kept) > 5 and min(overlaps) > 0.8
        # Of overlapping nuclei the later one gets the pixels: the redrawn one comes first, the new one last.
        assert after[20:33, 30:44].all() and after[5, 5] and (after[2:9, 2:10] == after[5, 5]).all()
        removed = (before == 1) & ~drawn_over(before) & ~np.isin(after, matched)
        assert not after[removed].any()
    tiny = "--epochs 1 --crop-size 64 --batch-size 2".split()
    run("train.py", "--data", folder, "--init", "models/nuclei", "--output", tmp_path / "mine", *tiny)
    run(
        "predict_masks.py",
        folder / "images",
        "--model",
        tmp_path / "mine",
        "--output",
        tmp_path / "b",
        "--outputs",
        "labels",
    )
    scores = run("evaluate_masks.py", tmp_path / "b", folder)
    assert float(re.search(r"Dice +(\d\.\d+)", scores)[1]) > 0.5


def drawn_over(label_map):
    """Where the two drawn outlines are, and what they may cut, (H, W) bool."""
    drawn = np.zeros(label_map.shape, bool)
    drawn[19:34, 29:45] = drawn[1:10, 1:11] = True
    return drawn


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

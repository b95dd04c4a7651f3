"""What is written is opened, measured and saved again by ImageJ itself."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segmentation.data.layouts import find_samples
from segmentation.data.outlines import fill_outline, read_outlines
from segmentation.results.labels import write_label_map
from segmentation.results.rois import write_rois
from tests.results.shapes import CASES

JAR = Path("/usr/share/java/ij.jar")
# The ROI Manager is a window also where a macro runs in batch mode.
if not (JAR.exists() and shutil.which("xvfb-run") and shutil.which("java")):
    pytest.skip("there is no ImageJ: apt-get install imagej xvfb xauth", allow_module_level=True)

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "data" / "sample" / "test" / "images"
NAMES = ["fluorescence_01", "stained_03"]
PIXEL_SIZE_UM = 0.325


def run_imagej(folder, images):
    """Let ImageJ measure each ``(label map, zip)``; return the tables, and where it saved the selections again."""
    files = [(folder / f"{index}.csv", folder / f"{index}.zip") for index in range(len(images))]
    argument = "\n".join(str(file) for image, own in zip(images, files, strict=True) for file in (*image, *own))
    command = ["xvfb-run", "--auto-servernum", "java", "-Xmx512m", f"-Duser.home={folder}", "-cp", JAR, "ij.ImageJ"]
    command += ["-ijpath", folder, "-batch", REPOSITORY / "tests" / "programs" / "imagej.ijm", argument]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert all(table.exists() and again.exists() for table, again in files), ran.stdout + ran.stderr
    return [list(csv.DictReader(table.open())) for table, _ in files], [again for _, again in files]


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """The results of `predict_masks.py`, what ImageJ measures in them, and the selections that it saves."""
    folder = tmp_path_factory.mktemp("imagej")
    (folder / "images").mkdir()
    for name in NAMES:
        shutil.copy(SAMPLE / f"{name}.png", folder / "images")
    command = [sys.executable, "predict_masks.py", folder / "images", "--output", folder / "results"]
    command += ["--outputs", "labels", "rois", "table", "--pixel-size", str(PIXEL_SIZE_UM)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    results = folder / "results"
    pairs = [(results / "labels" / f"{name}.tif", results / "rois" / f"{name}.zip") for name in NAMES]
    return folder, *run_imagej(folder, pairs)


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_imagej_measures_what_the_table_says(predicted, index):
    folder, tables, _ = predicted
    rows = [row for row in csv.DictReader((folder / "results" / "nuclei.csv").open()) if row["image"] == NAMES[index]]
    assert len(rows) == len(tables[index]) > 10
    for row, measured in zip(rows, tables[index], strict=True):
        assert measured["name"].split(" score ")[0] == row["label"]
        assert measured["unit"] in ("µm", "um", "micron", "microns")
        assert float(measured["pixel_width"]) == float(measured["pixel_height"]) == PIXEL_SIZE_UM
        assert float(measured["pixels"]) == float(row["area"])
        assert float(measured["area"]) == pytest.approx(float(row["area_um2"]), abs=1e-4)
        for axis in "yx":
            # The middle of the first pixel is 0 in the table and half a pixel in ImageJ.
            pixels = float(measured[axis]) / PIXEL_SIZE_UM
            assert pixels - 0.5 == pytest.approx(float(row[f"centroid_{axis}"]), abs=1e-3)
        # The selection lies on its nucleus in the label map, and on nothing else.
        assert float(measured["min"]) == float(measured["max"]) == int(row["label"])


def read_back(folder, name, image, zipped):
    """Read a zip of ImageJ beside an image as `train.py` does."""
    for kind, file in (("images", image), ("masks", zipped)):
        (folder / kind).mkdir(exist_ok=True)
        shutil.copy(file, folder / kind / f"{name}{file.suffix}")
    (sample,) = (sample for sample in find_samples(folder) if sample.id == name)
    return sample.read_labels(sample.read_image().pixels.shape[:2])


def assert_same_nuclei(found, expected):
    assert len(np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1).T) == len(np.unique(expected))
    assert len(np.unique(found)) == len(np.unique(expected))


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_what_imagej_saves_is_the_same_truth(predicted, tmp_path, index):
    folder, _, saved = predicted
    name = NAMES[index]
    labels = tifffile.imread(folder / "results" / "labels" / f"{name}.tif")
    assert_same_nuclei(read_back(tmp_path, name, folder / "images" / f"{name}.png", saved[index]), labels)


def test_holes_and_pieces_survive_imagej(tmp_path):
    """Composite selections, too, of which ImageJ makes its own again."""
    pairs = []
    for number, labels in enumerate(CASES.values()):
        pairs.append((tmp_path / f"labels{number}.tif", tmp_path / f"rois{number}.zip"))
        write_label_map(pairs[-1][0], labels.astype(np.uint32))
        write_rois(pairs[-1][1], labels)
    tables, saved = run_imagej(tmp_path, pairs)
    for labels, table, again in zip(CASES.values(), tables, saved, strict=True):
        assert {int(row["name"]): float(row["pixels"]) for row in table} == {
            label: np.count_nonzero(labels == label) for label in np.unique(labels[labels > 0]).tolist()
        }
        found = np.zeros(labels.shape, np.int64)
        for number, rings in enumerate(read_outlines(again), 1):
            pixels, top, left = fill_outline(rings, labels.shape)
            found[top : top + pixels.shape[0], left : left + pixels.shape[1]][pixels] = number
        assert_same_nuclei(found, labels)

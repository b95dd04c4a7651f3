"""What is written is opened, measured and saved again by ImageJ itself."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segmentation.data.layouts import find_samples
from segmentation.data.outlines import fill_outline, read_outlines
from segmentation.results.labels import write_label_map
from segmentation.results.rois import write_rois
from tests.programs.conftest import NAMES, PIXEL_SIZE_UM
from tests.results.shapes import CASES

JAR = Path("/usr/share/java/ij.jar")
# The ROI Manager is a window also where a macro runs in batch mode.
if not (JAR.exists() and shutil.which("xvfb-run") and shutil.which("java")):
    pytest.skip("there is no ImageJ: apt-get install imagej xvfb xauth", allow_module_level=True)


def run_imagej(folder, images):
    """Let ImageJ measure each ``(label map, zip)``; return the tables, and where it saved the selections again."""
    files = [(folder / f"{index}.csv", folder / f"{index}.zip") for index in range(len(images))]
    argument = "\n".join(str(file) for image, own in zip(images, files, strict=True) for file in (*image, *own))
    command = ["xvfb-run", "--auto-servernum", "java", "-Xmx512m", f"-Duser.home={folder}", "-cp", JAR, "ij.ImageJ"]
    command += ["-ijpath", folder, "-batch", Path(__file__).with_name("imagej.ijm"), argument]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert all(table.exists() and again.exists() for table, again in files), ran.stdout + ran.stderr
    return [list(csv.DictReader(table.open())) for table, _ in files], [again for _, again in files]


@pytest.fixture(scope="module")
def measured(predicted, tmp_path_factory):
    """What ImageJ measures in each image, and the selections that it saves."""
    results = predicted / "results"
    pairs = [(results / "labels" / f"{name}.tif", results / "rois" / f"{name}.zip") for name in NAMES]
    return run_imagej(tmp_path_factory.mktemp("imagej"), pairs)


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_imagej_measures_what_the_table_says(predicted, measured, index):
    table = measured[0][index]
    rows = [
        row for row in csv.DictReader((predicted / "results" / "nuclei.csv").open()) if row["image"] == NAMES[index]
    ]
    assert len(rows) == len(table) > 10
    for row, found in zip(rows, table, strict=True):
        assert found["name"].split(" score ")[0] == row["label"]
        assert found["unit"] in ("µm", "um", "micron", "microns")
        assert float(found["pixel_width"]) == float(found["pixel_height"]) == PIXEL_SIZE_UM
        assert float(found["pixels"]) == float(row["area"])
        assert float(found["area"]) == pytest.approx(float(row["area_um2"]), abs=1e-4)
        for axis in "yx":
            # The middle of the first pixel is 0 in the table and half a pixel in ImageJ.
            pixels = float(found[axis]) / PIXEL_SIZE_UM
            assert pixels - 0.5 == pytest.approx(float(row[f"centroid_{axis}"]), abs=1e-3)
        # The selection lies on its nucleus in the label map, and on nothing else.
        assert float(found["min"]) == float(found["max"]) == int(row["label"])


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
def test_what_imagej_saves_is_the_same_truth(predicted, measured, tmp_path, index):
    name = NAMES[index]
    labels = tifffile.imread(predicted / "results" / "labels" / f"{name}.tif")
    assert_same_nuclei(read_back(tmp_path, name, predicted / "images" / f"{name}.png", measured[1][index]), labels)


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

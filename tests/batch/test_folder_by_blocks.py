"""A folder with large pictures among small ones: by blocks or whole, the results are the same, and so after a kill."""

import csv
import json
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from segmentation.batch.folder import predict_folder
from segmentation.batch.inputs import find_inputs
from segmentation.batch.outputs import ImageOutput
from segmentation.data.normalisation import Normalisation
from segmentation.prediction.predictor import Predictor
from segmentation.results import images_csv, labels, masks, nuclei_csv

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class BrightEngine:
    name, precision, version, streams, batch_pixels = "bright", "f32", "1", 1, 8 * 256 * 256

    def with_streams(self, streams):
        return self

    def __init__(self):
        self.tiles = 0

    def __call__(self, tiles):
        self.tiles += len(tiles)
        return tiles.mean(axis=-1, keepdims=True)


def make_predictor(engine=None, **fields):
    return Predictor(
        engine or BrightEngine(),
        Normalisation(),
        divisor=16,
        margin=16,
        decode=lambda channels, cut=None: ndimage.label(channels[..., 0] > 0.5)[0].astype(np.int32),
        settings={},
        **fields,
    )


OUTPUTS = {"masks": masks.OUTPUT, "labels": labels.OUTPUT, "table": nuclei_csv.OUTPUT, "images": images_csv.OUTPUT}


def draw(shape, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, shape, dtype=np.uint8)
    for row in range(5, shape[0], 60):
        for column in range(9, shape[1], 55):
            height, width = rng.integers(10, 45, 2)
            pixels[row : row + height, column : column + width] = 200
    return pixels


def go(arguments, output, predictor=None, outputs=OUTPUTS, **options):
    inputs = find_inputs([str(argument) for argument in arguments])
    return predict_folder(inputs, output, predictor or make_predictor(), outputs, **options)


def rows(output):
    with (output / "nuclei.csv").open() as stream:
        return sorted(tuple(row)[2:] for row in csv.reader(stream))


def test_large_and_small_pictures_together(tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "large.tif", draw((300, 350)), tile=(64, 64))
    tifffile.imwrite(tmp_path / "in" / "small.tif", draw((50, 60)))
    by_blocks = go([tmp_path / "in"], tmp_path / "blocks", largest_whole=10_000)
    whole = go([tmp_path / "in"], tmp_path / "whole")
    assert [outcome.input.name for outcome in by_blocks] == ["large", "small"]
    assert [outcome.nuclei for outcome in by_blocks] == [outcome.nuclei for outcome in whole]
    assert rows(tmp_path / "blocks") == rows(tmp_path / "whole")
    assert (tmp_path / "blocks" / "images.csv").read_text() == (tmp_path / "whole" / "images.csv").read_text()
    for name, kind in (("large", np.uint32), ("small", np.uint16)):
        found = tifffile.imread(tmp_path / "blocks" / "labels" / f"{name}.tif")
        assert found.dtype == kind
        np.testing.assert_array_equal(found > 0, tifffile.imread(tmp_path / "whole" / "labels" / f"{name}.tif") > 0)
    assert (tmp_path / "blocks" / "masks" / "large.tif").exists()
    assert not (tmp_path / "blocks" / ".records" / "large.blocks").exists()

    predictor = make_predictor()
    again = go([tmp_path / "in"], tmp_path / "blocks", predictor, largest_whole=10_000)
    assert [outcome.status for outcome in again] == ["skipped", "skipped"]
    assert [outcome.nuclei for outcome in again] == [outcome.nuclei for outcome in by_blocks]
    assert predictor.engine.tiles == 0
    (tmp_path / "blocks" / "labels" / "large.tif").unlink()
    again = go([tmp_path / "in"], tmp_path / "blocks", largest_whole=10_000)
    assert [outcome.status for outcome in again] == ["done", "skipped"]
    tifffile.imwrite(tmp_path / "in" / "large.tif", draw((300, 350), seed=1), tile=(64, 64))
    again = go([tmp_path / "in"], tmp_path / "blocks", largest_whole=10_000)
    assert [outcome.status for outcome in again] == ["done", "skipped"]


def test_a_zarr_store_gives_a_zarr_store(tmp_path):
    zarr = pytest.importorskip("zarr")
    pixels = draw((300, 350))
    root = zarr.open_group(str(tmp_path / "in" / "slide.zarr"), mode="w", zarr_format=2)
    root.create_array("0", data=pixels[None, None, None], chunks=(1, 1, 1, 64, 64))
    axes = [{"name": name, "type": "space"} for name in "tczyx"]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    tifffile.imwrite(tmp_path / "in" / "slide.tif", pixels)
    for argument in (tmp_path / "in", tmp_path / "in" / "slide.zarr"):
        outcomes = go([argument], tmp_path / f"out{argument.name}")
        assert {outcome.status for outcome in outcomes} == {"done"}
        name = "slide_zarr" if len(outcomes) == 2 else "slide"
        group = zarr.open_group(str(tmp_path / f"out{argument.name}" / "labels" / f"{name}.zarr"), mode="r")
        found = group["labels/nuclei/0"][:]
        assert found.shape == (300, 350) and found.max() == outcomes[-1].nuclei > 20
        assert {outcome.status for outcome in go([argument], tmp_path / f"out{argument.name}")} == {"skipped"}
    (tmp_path / "in" / "slide.zarr").rename(tmp_path / "slide.zarr")
    assert go([tmp_path / "slide.zarr"], tmp_path / "outslide.zarr", largest_whole=10)[0].status == "skipped"
    rois = {"rois": ImageOutput("rois", ".zip", lambda file, p: file.write_bytes(b""))}
    assert go([tmp_path / "slide.zarr"], tmp_path / "outslide.zarr", outputs=rois)[0].status == "failed"
    assert (tmp_path / "outslide.zarr" / "labels" / "slide.zarr").exists(), "it was refused, not done wrong"
    (tmp_path / "slide.zarr").rename(tmp_path / "in" / "slide.zarr")
    chunks = (path for path in (tmp_path / "in" / "slide.zarr" / "0").rglob("*") if path.is_file())
    next(path for path in chunks if path.name[0].isdecimal()).unlink()
    assert go([tmp_path / "in" / "slide.zarr"], tmp_path / "outslide.zarr")[0].status == "done"


def test_what_is_said_of_a_picture_names_its_place_in_the_file(tmp_path):
    """Of a film, a frame without a finite value and one with some; of a plate, done by blocks, a damaged field."""
    zarr = pytest.importorskip("zarr")
    pixels = np.zeros((4, 60, 60), np.float32)
    pixels[:, 5:15, 5:15] = 1
    pixels[1], pixels[2, 50:] = np.nan, np.inf
    images = tmp_path / "images"
    images.mkdir()
    tifffile.imwrite(images / "film.tif", pixels, imagej=True, metadata={"axes": "TYX"})
    plate = zarr.open_group(str(images / "plate.zarr"), mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "B/3"}]}
    well = plate.create_group("B/3")
    well.attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
    axes = [{"name": name, "type": "space"} for name in "yx"]
    for number in "01":
        field = well.create_group(number)
        field.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
        field.create_array("0", data=np.uint8(200 * pixels[0]), chunks=(60, 60))
    (images / "plate.zarr/B/3/1/0/0.0").write_bytes(b"damaged")
    outcomes = go([images], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done", "done", "done", "failed"]
    said = [outcome.reason for outcome in outcomes]
    film, field = images / "film.tif", images / "plate.zarr/B/3/1"
    assert said[1].startswith(f"{film} (frame 2) holds 3,600 values that are NaN or infinite, where")
    assert said[2] == f"{film} (frame 3) holds 600 values that are NaN or infinite, taken for background"
    assert said[5].startswith(f"{field} (row B, column 3, field 2)") and not any(said[i] for i in (0, 3, 4))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [failure["reason"] for failure in summary["failures"]] == [said[1], said[5]]
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").open()))
    assert [row["reason"] for row in rows if row["status"] == "failed"] == [said[1], said[5]]


def test_what_cannot_be_done_by_blocks_fails_alone(tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "large.tif", draw((300, 350)), tile=(64, 64))
    tifffile.imwrite(tmp_path / "in" / "small.tif", draw((50, 60)))
    damaged = draw((400, 350))
    tifffile.imwrite(tmp_path / "in" / "torn.tif", damaged, tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(tmp_path / "in" / "torn.tif") as tiff:
        offset = tiff.pages[0].dataoffsets[20]
    data = bytearray((tmp_path / "in" / "torn.tif").read_bytes())
    data[offset : offset + 30] = bytes(30)
    (tmp_path / "in" / "torn.tif").write_bytes(data)
    outcomes = go([tmp_path / "in"], tmp_path / "out", largest_whole=10_000)
    assert [outcome.status for outcome in outcomes] == ["done", "done", "failed"]
    assert outcomes[2].reason.startswith(f"{tmp_path / 'in' / 'torn.tif'} is a TIFF that cannot be decoded")

    rois = {"rois": ImageOutput("rois", ".zip", lambda file, p: file.write_bytes(b""))}
    outcomes = go([tmp_path / "in" / "large.tif", tmp_path / "in" / "small.tif"], tmp_path / "rois", outputs=rois, largest_whole=10_000)  # fmt: skip # noqa: E501
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert outcomes[0].reason == (
        f"{tmp_path / 'in' / 'large.tif'} has 350 x 300 pixels and is done by blocks, of which rois cannot be written: "
        "name only others after --outputs"
    )


def test_the_channel_that_is_asked_for(tmp_path):
    shape = 300, 350
    stored = np.stack([np.zeros(shape, np.uint8), draw(shape)])
    for name, options in (("large", {"tile": (64, 64)}), ("small", {})):
        part = stored if name == "large" else stored[:, :60, :70]
        tifffile.imwrite(tmp_path / f"{name}.tif", part, photometric="minisblack", ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["GFP", "DAPI"]}}, **options)  # fmt: skip # noqa: E501
    files = [tmp_path / "large.tif", tmp_path / "small.tif"]
    refused = go(files, tmp_path / "out", largest_whole=10_000)
    assert all("1 (GFP), 2 (DAPI), where one plane" in outcome.reason for outcome in refused)
    for channel in ("DAPI", "2"):
        outcomes = go(files, tmp_path / f"out{channel}", make_predictor(channel=channel), largest_whole=10_000)
        assert all(outcome.status == "done" and outcome.nuclei for outcome in outcomes)
    assert not any(outcome.nuclei for outcome in go(files, tmp_path / "gfp", make_predictor(channel="GFP")))


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_formats_that_are_decoded_whole_are_predicted_by_blocks(tmp_path, suffix):
    """What a tiled TIFF of the same pixels gives: also all channels in the table, and from an archive."""
    pixels = np.stack([draw((300, 350), seed) for seed in range(3)], axis=-1)
    tifffile.imwrite(tmp_path / "tiled.tif", pixels, tile=(64, 64))
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / f"picture{suffix}"
    cv2.imwrite(str(file), pixels[..., ::-1])
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(file, f"images/{file.name}")
    predictor = make_predictor(channel="green")
    sources = {"tiled": tmp_path / "tiled.tif", "file": file, "archive": tmp_path / "images.zip"}
    for name, source in sources.items():
        (outcome,) = go([source], tmp_path / name, predictor, largest_whole=10_000)
        assert outcome.status == "done" and outcome.nuclei > 20
        assert rows(tmp_path / name) == rows(tmp_path / "tiled")
        assert [found.suffix for found in (tmp_path / name / "masks").iterdir()] == [".tif"]
        assert go([source], tmp_path / name, predictor, largest_whole=10_000)[0].status == "skipped"
    assert "mean_intensity_red" in (tmp_path / "file" / "nuclei.csv").read_text()


SCRIPT = """
import importlib.util
import time
import zipfile
from pathlib import Path

spec = importlib.util.spec_from_file_location("tests_by_blocks", {this!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

class Slow(module.BrightEngine):
    def __call__(self, tiles):
        time.sleep(0.5)
        return super().__call__(tiles)

module.go([{image!r}], Path({output!r}), module.make_predictor(Slow()), largest_whole=10_000)
"""


def test_killed_in_the_middle_then_the_same_again(tmp_path):
    image = tmp_path / "slide.tif"
    tifffile.imwrite(image, draw((3100, 3000)), tile=(256, 256))
    undisturbed = make_predictor()
    go([image], tmp_path / "expected", undisturbed, largest_whole=10_000)
    script = textwrap.dedent(SCRIPT).format(this=__file__, image=str(image), output=str(tmp_path / "out"))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    blocks = tmp_path / "out" / ".records" / "slide.blocks"
    deadline = time.monotonic() + 120
    while len(list(blocks.glob("?-?.npz"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(blocks.glob("?-?.npz")))
    assert not list((tmp_path / "out" / "labels").glob("*.tif")), "nothing appears before it is whole"

    predictor = make_predictor()
    outcomes = go([image], tmp_path / "out", predictor, largest_whole=10_000)
    assert outcomes[0].status == "done"
    assert predictor.engine.tiles == undisturbed.engine.tiles - finished, "finished blocks were done again"
    for kind in ("labels", "masks"):
        one, other = (tifffile.imread(tmp_path / name / kind / "slide.tif") for name in ("out", "expected"))
        np.testing.assert_array_equal(one, other)
    assert (tmp_path / "out" / "nuclei.csv").read_text() == (tmp_path / "expected" / "nuclei.csv").read_text()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"]["done"] == 1
    assert not blocks.exists()

"""The command line on files of several channels, on OME-Zarr, and on pictures too large to be read whole."""

import csv
import sys

import numpy as np
import pytest
import tifffile

import predict_masks
from tests.prediction.tiny_model import write_tiny_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def call(model, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments), "--model", str(model), "--diameter", "none"])
        return predict_masks.main()

    return run


def draw(shape):
    pixels = np.full(shape, 10, np.uint8)
    for row in range(8, shape[0] - 12, 30):
        for column in range(8, shape[1] - 12, 30):
            pixels[row : row + 9, column : column + 9] = 200
    return pixels


def test_channels(call, tmp_path, capsys):
    stored = np.stack([np.full((100, 120), 5, np.uint8), draw((100, 120))])
    metadata = {"axes": "CYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    tifffile.imwrite(tmp_path / "cells.ome.tif", stored, ome=True, photometric="minisblack", metadata=metadata)
    out = tmp_path / "out"
    assert call(tmp_path / "cells.ome.tif", "--output", out) == 1
    assert "2 channels (axes CYX, shape (2, 100, 120)): 1 (GFP), 2 (DAPI), where one" in capsys.readouterr().err
    for channel in ("DAPI", "2"):
        assert call(tmp_path / "cells.ome.tif", "--output", out, "--channel", channel) == 0
        assert len(list(csv.DictReader((out / "nuclei.csv").open()))) == 12
    # Another channel is another result: what is there is not taken for it.
    assert call(tmp_path / "cells.ome.tif", "--output", out, "--channel", "GFP") == 0
    assert len(list(csv.DictReader((out / "nuclei.csv").open()))) != 12
    assert call(tmp_path / "cells.ome.tif", "--output", out, "--channel", "Cy5") == 1
    assert "has no channel 'Cy5', where one of 1 (GFP), 2 (DAPI) was expected" in capsys.readouterr().err


def test_all_default_outputs_of_a_zarr_store(call, tmp_path):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(tmp_path / "slide.zarr"), mode="w", zarr_format=3)
    root.create_array("0", data=draw((100, 120)), chunks=(64, 64))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    out = tmp_path / "out"
    assert call(tmp_path / "slide.zarr", "--output", out) == 0
    rows = list(csv.DictReader((out / "nuclei.csv").open()))
    assert len(rows) == 12 and all(float(row["area_um2"]) == int(row["area"]) / 4 for row in rows)
    labels = zarr.open_group(str(out / "labels" / "slide.zarr"), mode="r")["labels/nuclei/0"][:]
    assert labels.max() == 12
    mask = tifffile.imread(out / "masks" / "slide.tif")
    np.testing.assert_array_equal(mask > 0, labels > 0)
    assert (out / "overlays" / "slide.png").exists()


def test_a_picture_above_the_limit_goes_by_blocks(call, tmp_path, monkeypatch, capsys):
    from segmentation.data import large

    limited = large.open_large
    monkeypatch.setattr(
        "segmentation.batch.stages.open_large",
        lambda file, channel, most, *planes: limited(file, channel, 10_000, *planes),
    )
    tifffile.imwrite(tmp_path / "slide.tif", draw((200, 240)), tile=(64, 64))
    assert call(tmp_path / "slide.tif", "--output", tmp_path / "out") == 0
    with tifffile.TiffFile(tmp_path / "out" / "labels" / "slide.tif") as tiff:
        assert tiff.is_bigtiff and tiff.pages[0].is_tiled and tiff.asarray().max() == 6 * 8
    assert call(tmp_path / "slide.tif", "--output", tmp_path / "rle", "--outputs", "rle") == 1
    assert "is done by blocks, of which rle cannot be written: name only others" in capsys.readouterr().err

"""What is written of pictures done by blocks, read back by other readers and held against the picture done whole."""

import csv
import dataclasses
import io
import itertools

import cv2
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.large import open_large
from segmentation.data.normalisation import Normalisation
from segmentation.large.blocks import plan_blocks
from segmentation.large.predict import predict_large
from segmentation.prediction.predictor import Predictor
from segmentation.results import large_labels, large_measurement, nuclei_csv, overlays
from segmentation.results.measurement import measure_nuclei
from segmentation.results.nuclei_csv import COLUMNS, table_rows

SHAPE = 500, 620


class BrightEngine:
    name, precision, version, streams, batch_pixels = "bright", "f32", "1", 1, 8 * 256 * 256

    def with_streams(self, streams):
        return self

    def __call__(self, tiles):
        return tiles.mean(axis=-1, keepdims=True)


def predictor():
    return Predictor(
        BrightEngine(),
        Normalisation(),
        divisor=16,
        margin=16,
        decode=lambda channels, cut=None: ndimage.label(channels[..., 0] > 0.5)[0].astype(np.int32),
        settings={},
    )


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 40, SHAPE, dtype=np.uint8)
    for row in range(10, SHAPE[0], 25):
        for column in range(4, SHAPE[1], 23):
            height, width = rng.integers(5, 19, 2)
            pixels[row : row + height, column : column + width] = rng.integers(150, 255)
    pixels[100:300, 200:460] = 200  # larger than any halo here
    return pixels


@pytest.fixture
def whole(pixels):
    """The label map of the picture done whole, numbered as it comes."""
    normalisation = Normalisation()
    stretched = normalisation.apply(pixels[..., None], normalisation.limits(pixels[..., None]))
    return ndimage.label(stretched[..., 0] > 0.5)[0]


def predict(file, folder):
    return predict_large(
        "slide",
        open_large(file, largest_whole=0),
        "digest",
        folder / "blocks",
        predictor(),
        plan=lambda shape, divisor, margin, scale: plan_blocks(shape, 16, 16, halo=32, largest_tile=176 * 176),
        measure=measure_nuclei,
    )


@pytest.fixture
def prediction(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "slide.tif", pixels, tile=(64, 64), resolution=(20000, 20000), resolutionunit=3)
    return predict(tmp_path / "slide.tif", tmp_path)


def renumber(labels, numbers):
    """Number the nuclei of `labels` as in `numbers`, of which they must be the same regions."""
    np.testing.assert_array_equal(labels > 0, numbers > 0)
    pairs = np.unique(np.stack([labels.ravel(), numbers.ravel()]), axis=1)
    assert len(pairs.T) == labels.max() + 1 == numbers.max() + 1
    return pairs[1][labels]


def test_label_map_and_mask(tmp_path, prediction, whole):
    file = large_labels.write_large_label_map(tmp_path / "slide.v1", prediction)
    assert file == tmp_path / "slide.v1.tif"
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[0]
        assert (
            tiff.is_bigtiff and page.is_tiled and page.dtype == np.uint32 and page.compression.name == "ADOBE_DEFLATE"
        )
        assert tiff.imagej_metadata["unit"] == "um" and page.tags["XResolution"].value[0] == 2
        labels = page.asarray()
    renumber(labels.astype(int), whole)
    np.testing.assert_array_equal(np.unique(labels), np.arange(prediction.nuclei + 1))
    # OpenCV reads by libtiff, and has never heard of 32 bits unsigned: the mask is 8 bits.
    mask = cv2.imread(str(large_labels.write_large_mask(tmp_path / "mask", prediction)), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, (whole > 0) * np.uint8(255))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_of_ome_zarr(tmp_path, pixels, whole, zarr_format):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(tmp_path / "slide.zarr"), mode="w", zarr_format=zarr_format)
    root.create_array("0", data=pixels, chunks=(64, 64))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}]
    metadata = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    root.attrs.update(metadata if zarr_format == 2 else {"ome": metadata})
    prediction = predict(tmp_path / "slide.zarr", tmp_path)
    (tmp_path / "labels").mkdir()
    for _ in range(2):  # the second time in place of the first
        folder = large_labels.write_large_label_map(tmp_path / "labels" / "slide", prediction)
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["slide.zarr"]

    written = zarr.open_group(str(folder), mode="r")
    assert written.metadata.zarr_format == zarr_format
    listed = dict(written["labels"].attrs)
    attributes = dict(written["labels/nuclei"].attrs)
    if zarr_format == 3:
        listed, attributes = listed["ome"], attributes["ome"]
        assert attributes["version"] == "0.5"
    assert listed["labels"] == ["nuclei"] and "image-label" in attributes
    dataset = attributes["multiscales"][0]["datasets"][0]
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [0.5, 0.5]}]
    labels = written[f"labels/nuclei/{dataset['path']}"]
    assert labels.dtype == np.uint32
    renumber(labels[:].astype(int), whole)


def test_the_pyramid_of_labels_keeps_numbers(tmp_path, prediction, monkeypatch):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(large_labels, "_COARSEST", 100)
    monkeypatch.setattr(large_labels, "_CHUNK", 128)
    object.__setattr__(prediction.image, "zarr_format", 3)
    object.__setattr__(prediction.image, "pixel_size_um", PixelSize(0.5, 0.25))
    group = zarr.open_group(str(large_labels.write_large_label_map(tmp_path / "s", prediction)))["labels/nuclei"]
    (picture,) = group.attrs["ome"]["multiscales"]
    assert picture["datasets"][1]["coordinateTransformations"][0]["scale"] == [1, 0.5]  # y and x
    levels = [group[str(level)][:] for level in range(4)]
    assert [level.shape for level in levels] == [(500, 620), (250, 310), (125, 155), (63, 78)]
    for finer, coarser in zip(levels[:-1], levels[1:], strict=True):
        np.testing.assert_array_equal(coarser, finer[::2, ::2])


@pytest.mark.parametrize("size", [(0.5, 0.5), (0.5, 0.2)])
def test_the_table_is_that_of_the_picture_done_whole(tmp_path, prediction, pixels, whole, size):
    object.__setattr__(prediction.image, "pixel_size_um", PixelSize(*size))
    labels = np.concatenate(list(prediction.bands()))
    same = renumber(whole, labels.astype(int))
    expected = list(table_rows("slide", measure_nuclei(same, pixels[..., None], ("grey",), size)))
    found = [tuple(row) for row in nuclei_csv.OUTPUT.rows_large(prediction)]
    assert found == expected
    stream = io.StringIO()
    csv.writer(stream).writerows([COLUMNS, *found])
    assert len(stream.getvalue().splitlines()) == prediction.nuclei + 1


def test_only_solidity_and_perimeter_of_a_huge_nucleus_are_coarse(prediction, whole, pixels, monkeypatch):
    monkeypatch.setattr(large_measurement, "_LARGEST_BOX", 10_000)
    table = large_measurement.measure_large(prediction)
    largest = table["area"].argmax()
    number = np.bincount(whole.ravel())[1:].argmax() + 1
    expected = measure_nuclei((whole == number).astype(int), pixels[..., None], ("grey",), (0.5, 0.5))
    assert set(table) == set(expected)
    for name, (value,) in expected.items():
        if name != "label":
            tolerance = 0.1 if name in ("solidity", "perimeter", "perimeter_um") else 1e-9
            assert table[name][largest] == pytest.approx(value, rel=tolerance), name


def test_the_overview_is_small(tmp_path, prediction, monkeypatch):
    monkeypatch.setattr(overlays, "_OVERVIEW_SIDE", 200)
    picture = cv2.imread(str(overlays.write_overview(tmp_path / "slide", prediction)))
    assert picture.shape == (125, 155, 3)
    coloured = picture.max(axis=-1).astype(int) - picture.min(axis=-1) > 30
    assert 0.05 < coloured.mean() < 0.9


def test_a_zarr_store_that_cannot_be_finished_leaves_nothing(tmp_path, pixels, monkeypatch):
    tifffile.imwrite(tmp_path / "slide.tif", pixels, tile=(256, 256))
    prediction = predict(tmp_path / "slide.tif", tmp_path)
    as_zarr = dataclasses.replace(prediction, image=dataclasses.replace(prediction.image, zarr_format=3))
    monkeypatch.setattr(large_labels, "_CHUNK", 256)
    read, parts = type(prediction).read, itertools.count()

    def fail_at_the_second(self, rows, columns):
        if next(parts):
            raise OSError(28, "No space left on device")
        return read(self, rows, columns)

    monkeypatch.setattr(type(prediction), "read", fail_at_the_second)
    (tmp_path / "labels").mkdir()
    with pytest.raises(OSError, match="No space left"):
        large_labels.write_large_label_map(tmp_path / "labels" / "slide", as_zarr)
    assert list((tmp_path / "labels").iterdir()) == []

"""Pictures read by blocks hold what they hold when they are read whole: TIFF of every layout, and OME-Zarr."""

import hashlib
import shutil

import numpy as np
import pytest
import tifffile

from segmentation.data.formats import tiff_blocks
from segmentation.data.images import ImageError, read_image
from segmentation.data.large import content_digest, open_large
from segmentation.data.normalisation import Normalisation


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "slide.tif"


def parts(shape, count=12, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        spans = [sorted(rng.integers(0, length + 1, 2)) for length in shape]
        if all(first < last for first, last in spans):
            yield tuple(slice(int(first), int(last)) for first, last in spans)
    yield slice(0, shape[0]), slice(0, shape[1])


def assert_reads_as_whole(file, channel=None):
    whole = read_image(file, channel)
    image = open_large(file, channel, largest_whole=0)
    assert (image.shape, image.dtype) == (whole.pixels.shape[:2], whole.pixels.dtype)
    assert (image.channel_names, image.pixel_size_um) == (whole.channel_names, whole.pixel_size_um)
    for rows, columns in parts(image.shape):
        block = image.read(rows, columns)
        np.testing.assert_array_equal(block, whole.pixels[rows, columns])
        assert block.dtype == whole.pixels.dtype and block.dtype.isnative and block.flags.c_contiguous
    np.testing.assert_array_equal(image.read(slice(-5, 9), slice(100, 10_000)), whole.pixels[:9, 100:])
    assert image.measured_names == whole.measured_names
    np.testing.assert_array_equal(image.read_measured(slice(3, 9), slice(100, 10_000)), whole.measured[3:9, 100:])
    assert Normalisation().limits_of_blocks(image.blocks) == Normalisation().limits(whole.pixels)
    image.close()


LAYOUTS = [
    {},
    {"rowsperstrip": 7},
    {"tile": (64, 32)},
    {"tile": (64, 64), "compression": "zlib", "predictor": True, "bigtiff": True},
    {"rowsperstrip": 9, "compression": "lzw"},
    {"tile": (32, 32), "compression": "zstd", "byteorder": ">"},
    {"byteorder": ">"},
    {"photometric": "miniswhite"},
]


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey(rng, file, dtype, options):
    if options.get("photometric") == "miniswhite" and dtype == np.float32:
        pytest.skip("floats have no natural white")
    tifffile.imwrite(file, (rng.random((150, 203)) * 250).astype(dtype), **options)
    assert_reads_as_whole(file)


@pytest.mark.parametrize("options", LAYOUTS[:6], ids=str)
@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("planar", [False, True])
def test_colour(rng, file, samples, planar, options):
    stored = rng.integers(0, 256, (150, 203, samples), dtype=np.uint8)
    if samples == 4:
        stored[..., 3] = np.where(stored[..., 3] > 99, 255, 0)
    config = {"planarconfig": "separate"} if planar else {}
    tifffile.imwrite(file, np.moveaxis(stored, -1, 0) if planar else stored, photometric="rgb", **config, **options)
    assert_reads_as_whole(file)
    assert_reads_as_whole(file, "blue")


def test_other_values(rng, file):
    tifffile.imwrite(file, rng.random((150, 203)) > 0.5, photometric="minisblack")
    assert_reads_as_whole(file)
    tifffile.imwrite(file, rng.random((150, 203)), tile=(64, 64))
    assert_reads_as_whole(file)
    tifffile.imwrite(file, rng.integers(-70_000, 70_000, (150, 203), dtype=np.int32), tile=(64, 64))
    assert_reads_as_whole(file)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    indices = rng.integers(0, 256, (150, 203), dtype=np.uint8)
    tifffile.imwrite(file, indices, photometric="palette", colormap=palette.T.astype(np.uint16) * 257, tile=(64, 64))
    assert_reads_as_whole(file)
    y, x = np.mgrid[:150, :203]
    colours = np.stack([y, x, 255 - y], axis=-1).astype(np.uint8)
    tifffile.imwrite(file, colours, photometric="rgb", compression="jpeg", tile=(64, 64))
    assert_reads_as_whole(file)


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16])
def test_what_is_white_follows_from_the_whole_picture_of_other_values_so_they_are_read_whole(rng, file, dtype):
    tifffile.imwrite(file, (rng.random((50, 60)) * 100).astype(dtype), photometric="miniswhite")
    assert read_image(file).pixels.any()
    assert open_large(file) is None
    assert open_large(file, largest_whole=0) is None


@pytest.mark.parametrize(
    "options", [{"ome": True}, {"imagej": True}, {"metadata": None}, {"ome": True, "tile": (64, 64)}]
)
def test_one_of_several_channels(rng, file, options):
    stored = rng.integers(0, 65536, (3, 150, 203), dtype=np.uint16)
    metadata = options.pop("metadata", {"axes": "CYX"})
    tifffile.imwrite(file, stored, photometric="minisblack", metadata=metadata, **options)
    assert_reads_as_whole(file, "2")
    with pytest.raises(ImageError, match=r"slide\.tif holds 3 .* choose one with --channel"):
        open_large(file, largest_whole=0)


def test_the_full_resolution_of_a_pyramid(rng, file):
    stored = rng.integers(0, 256, (256, 320), dtype=np.uint8)
    with tifffile.TiffWriter(file, ome=True, bigtiff=True) as writer:
        writer.write(stored, tile=(64, 64), subifds=2, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})  # fmt: skip # noqa: E501
        writer.write(stored[::2, ::2], tile=(64, 64), subfiletype=1)
        writer.write(stored[::4, ::4], tile=(64, 64), subfiletype=1)
    assert_reads_as_whole(file)
    assert open_large(file, largest_whole=0).pixel_size_um == (0.5, 0.5)


def test_the_cache_is_bounded(rng, file, monkeypatch):
    monkeypatch.setattr(tiff_blocks, "CACHE_BYTES", 10_000)
    tifffile.imwrite(file, rng.integers(0, 256, (300, 300), dtype=np.uint8), tile=(64, 64), compression="zlib")
    assert_reads_as_whole(file)
    image = open_large(file, largest_whole=0)
    image.read(slice(0, 300), slice(0, 300))
    assert image._source._cached_bytes <= 10_000


def test_small_pictures_and_other_formats_are_read_whole(rng, file, tmp_path):
    tifffile.imwrite(file, rng.integers(0, 256, (30, 40), dtype=np.uint8))
    assert open_large(file) is None
    assert open_large(file, largest_whole=1200) is None
    assert open_large(file, largest_whole=1199) is not None
    (tmp_path / "cells.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert open_large(tmp_path / "cells.png", largest_whole=0) is None
    assert open_large(tmp_path / "missing.tif", largest_whole=0) is None
    assert open_large(tmp_path, largest_whole=0) is None


def test_a_damaged_tile_is_named_when_it_is_read(rng, file):
    tifffile.imwrite(file, rng.integers(0, 256, (300, 300), dtype=np.uint8), tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(file) as tiff:
        offset = tiff.pages[0].dataoffsets[7]
    data = bytearray(file.read_bytes())
    data[offset : offset + 40] = bytes(40)
    file.write_bytes(data)
    image = open_large(file, largest_whole=0)
    assert image.read(slice(0, 64), slice(0, 64)).shape == (64, 64, 1)
    with pytest.raises(ImageError, match=r"slide\.tif is a TIFF that cannot be decoded"):
        image.read(slice(0, 300), slice(0, 300))


def test_a_truncated_file_is_refused_at_once(rng, file):
    tifffile.imwrite(file, rng.integers(0, 256, (300, 300), dtype=np.uint8), tile=(64, 64), compression="zlib")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ImageError, match=r"slide\.tif is a truncated TIFF"):
        open_large(file, largest_whole=0)


def test_blocks_of_wide_integers_are_floats_whatever_the_values_of_each(rng, file):
    stored = rng.integers(0, 65536, (150, 203), dtype=np.int32)
    tifffile.imwrite(file, stored, tile=(64, 64))
    image = open_large(file, largest_whole=0)
    block = image.read(slice(0, 100), slice(0, 100))
    assert image.dtype == block.dtype == np.float32
    np.testing.assert_array_equal(block[..., 0], stored[:100, :100])
    assert Normalisation().limits_of_blocks(image.blocks) == Normalisation().limits(stored.astype(np.uint16)[..., None])


def test_gaps_are_filled_once_the_background_is_known(rng, file):
    stored = rng.random((300, 300)).astype(np.float32)
    stored[250, 250], stored[0] = np.nan, np.inf
    tifffile.imwrite(file, stored, tile=(64, 64))
    image = open_large(file, largest_whole=0)
    assert np.isnan(image.read(slice(200, 300), slice(200, 300))[50, 50, 0])
    filled = image.filled([0.5], 301)
    assert filled.gaps == 301
    expected = np.where(np.isfinite(stored), stored, np.float32(0.5))
    np.testing.assert_array_equal(filled.read(slice(0, 300), slice(0, 300))[..., 0], expected)


def write_zarr(folder, stored, axes, zarr_format, names=(), scale=None, unit="micrometer"):
    zarr = pytest.importorskip("zarr")
    shutil.rmtree(folder, ignore_errors=True)
    root = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
    for level, data in enumerate((stored, stored[..., ::2, ::2])):
        root.create_array(str(level), data=data, chunks=(*(1,) * (stored.ndim - 2), 64, 64))
    kinds = {"t": "time", "c": "channel"}
    entries = [{"name": a, "type": kinds.get(a, "space"), **({"unit": unit} if a in "zyx" else {})} for a in axes]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [(scale or 1.0) * 2**level] * stored.ndim}],
        }
        for level in range(2)
    ]
    metadata = {"multiscales": [{"version": "0.4", "axes": entries, "datasets": datasets}]}
    if names:
        metadata["omero"] = {"channels": [{"label": name} for name in names]}
    root.attrs.update(metadata if zarr_format == 2 else {"ome": {"version": "0.5"} | metadata})
    return folder


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_ome_zarr(rng, tmp_path, zarr_format, dtype):
    stored = (rng.random((150, 203)) * 250).astype(dtype)
    for axes, shape in (("yx", (150, 203)), ("tczyx", (1, 1, 1, 150, 203)), ("cyx", (1, 150, 203))):
        folder = write_zarr(tmp_path / "slide.zarr", stored.reshape(shape), axes, zarr_format, scale=0.25)
        image = open_large(folder)
        assert (image.shape, image.dtype, image.channel_names) == ((150, 203), dtype, ("grey",))
        assert (image.pixel_size_um, image.zarr_format) == ((0.25, 0.25), zarr_format)
        for rows, columns in parts(image.shape, 3):
            np.testing.assert_array_equal(image.read(rows, columns)[..., 0], stored[rows, columns])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_channels_of_ome_zarr(rng, tmp_path, zarr_format):
    stored = rng.integers(0, 256, (3, 1, 150, 203), dtype=np.uint8)
    folder = write_zarr(tmp_path / "slide.zarr", stored, "czyx", zarr_format, ("DAPI", "GFP", "Cy5"))
    part = slice(60, 140), slice(3, 100)
    for channel in ("GFP", "2"):
        np.testing.assert_array_equal(open_large(folder, channel).read(*part)[..., 0], stored[1, 0][part])
        np.testing.assert_array_equal(
            open_large(folder, channel).read_measured(*part), stored[:, 0].transpose(1, 2, 0)[part]
        )
        assert open_large(folder, channel).measured_names == ("DAPI", "grey", "Cy5")
    with pytest.raises(
        ImageError, match=r"slide\.zarr holds 3 channels .*: 1 \(DAPI\), 2 \(GFP\), 3 \(Cy5\), .* --channel"
    ):
        open_large(folder)
    folder = write_zarr(tmp_path / "slide.zarr", stored, "czyx", zarr_format, ("Red", "Green", "Blue"))
    image = open_large(folder)
    assert image.channel_names == ("red", "green", "blue")
    np.testing.assert_array_equal(image.read(*part), np.moveaxis(stored[:, 0], 0, -1)[part])
    np.testing.assert_array_equal(open_large(folder, "blue").read(*part)[..., 0], stored[2, 0][part])
    np.testing.assert_array_equal(open_large(folder, "blue").read_measured(*part), image.read(*part))


def test_stores_that_hold_no_plane_are_refused(rng, tmp_path):
    zarr = pytest.importorskip("zarr")
    stack = write_zarr(tmp_path / "stack.zarr", np.zeros((4, 50, 60), np.uint8), "zyx", 3)
    with pytest.raises(
        ImageError, match=r"stack\.zarr holds 4 planes in Z \(axes ZYX, shape \(4, 50, 60\)\), where one"
    ):
        open_large(stack)
    zarr.open_group(str(tmp_path / "empty.zarr"), mode="w")
    with pytest.raises(ImageError, match=r"empty\.zarr is a Zarr store without 'multiscales' in its metadata"):
        open_large(tmp_path / "empty.zarr")
    plate = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w", zarr_format=2)
    plate.attrs["plate"] = {}
    with pytest.raises(ImageError, match=r"plate\.zarr is a plate of many pictures"):
        open_large(tmp_path / "plate.zarr")
    broken = write_zarr(tmp_path / "broken.zarr", np.zeros((50, 60), np.uint8), "yx", 3)
    (broken / "0" / "zarr.json").write_text("{")
    with pytest.raises(ImageError, match=r"broken\.zarr is a Zarr store that cannot be read"):
        open_large(broken)


def test_the_digest_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert content_digest(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()
    for name in ("one", "two", "three"):
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / "0" / "c").write_bytes(b"data" if name != "three" else b"Data")
    digests = [content_digest(tmp_path / name) for name in ("one", "two", "three")]
    assert digests[0] == digests[1] != digests[2]


def test_an_ome_zarr_that_claims_more_than_it_stores_is_refused(tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(tmp_path / "a.zarr", shape=(1_000_000, 1_000_000), chunks=(32, 32), dtype="u2")
    array[:64, :64] = 7
    with pytest.raises(ImageError, match=r"claims a shape of \(1000000, 1000000\), .* bytes, but stores"):
        open_large(tmp_path / "a.zarr")


def test_chunks_too_large_to_decode_are_refused(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "a.zarr", shape=(40, 50), chunks=(40_000, 40_000), dtype="u1")
    with pytest.raises(ImageError, match="stores chunks of 40000 x 40000 pixels, where at most"):
        open_large(tmp_path / "a.zarr")


def test_a_channel_label_that_is_no_text_is_read_as_text(rng, tmp_path):
    stored = rng.integers(0, 200, (2, 30, 40), np.uint8)
    write_zarr(tmp_path / "a.zarr", stored, "cyx", 2, names=(405, None))
    image = open_large(tmp_path / "a.zarr", "405")
    assert np.array_equal(image.read(slice(0, 30), slice(0, 40))[..., 0], stored[0])

"""TIFF files written by tifffile and Pillow, read back pixel for pixel; and the many that hold no single picture."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from segmentation.data.images import ImageError, read_image
from segmentation.data.label_maps import read_label_map


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cells.tif"


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 8},
        {"compression": "lzw"},
        {"compression": "zstd"},
    ],
    ids=str,
)
def test_grey_of_every_layout(rng, file, dtype, byteorder, options):
    stored = (rng.random((40, 50)) * 250).astype(dtype)
    tifffile.imwrite(file, stored, byteorder=byteorder, **options)
    pixels = read_image(file).pixels
    np.testing.assert_array_equal(pixels[..., 0], stored)
    assert pixels.dtype == dtype and pixels.dtype.isnative and pixels.flags.c_contiguous and pixels.flags.writeable


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("samples", [3, 4])
def test_colours_interleaved_and_planar(rng, file, dtype, samples):
    stored = (rng.random((40, 50, samples)) * 250).astype(dtype)
    if samples == 4:
        stored[..., 3] = stored[..., 3] > 99
    tifffile.imwrite(file, stored, photometric="rgb")
    np.testing.assert_array_equal(read_image(file).pixels, stored[..., :3])
    tifffile.imwrite(file, np.moveaxis(stored, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(file).pixels, stored[..., :3])


def test_grey_with_alpha(rng, file):
    stored = rng.integers(0, 2, (40, 50, 2), dtype=np.uint8) * 255
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(file, stored, extrasamples=["unassalpha"], **options)
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], stored[..., 0])
    tifffile.imwrite(file, stored, extrasamples=["unspecified"], **options)
    with pytest.raises(ImageError, match=r"cells\.tif holds 2 channels .* where one plane, grey or RGB, was expected"):
        read_image(file)


@pytest.mark.parametrize("shape", [(1, 40, 50), (1, 1, 40, 50), (40, 50, 1), (1, 50), (40, 1), (1, 1)])
def test_axes_of_length_one_do_not_count(rng, file, shape):
    stored = rng.integers(0, 65536, shape, dtype=np.uint16)
    tifffile.imwrite(file, stored)
    np.testing.assert_array_equal(read_image(file).pixels.ravel(), stored.ravel())


def test_imagej_ome_and_colour_ome(rng, file):
    grey = rng.integers(0, 65536, (40, 50), dtype=np.uint16)
    tifffile.imwrite(file, grey, imagej=True)
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], grey)
    tifffile.imwrite(file, grey[None, None, None], ome=True, metadata={"axes": "TCZYX"})
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], grey)
    colours = rng.integers(0, 256, (3, 40, 50), dtype=np.uint8)
    for axes in ("CYX", "SYX"):
        tifffile.imwrite(file, colours, ome=axes == "SYX", photometric="rgb", planarconfig="separate", metadata={"axes": axes})  # fmt: skip # noqa: E501
        np.testing.assert_array_equal(read_image(file).pixels, np.moveaxis(colours, 0, -1))


def test_bool_min_is_white_and_twelve_bits(rng, file):
    mask = rng.random((40, 50)) > 0.5
    tifffile.imwrite(file, mask, photometric="minisblack")
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], mask * np.uint8(255))
    tifffile.imwrite(file, mask, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], ~mask * np.uint8(255))
    np.testing.assert_array_equal(read_label_map(file), mask * np.uint8(255))

    for dtype, black in ((np.uint8, 255), (np.uint16, 65535)):
        stored = rng.integers(0, black, (40, 50), dtype=dtype)
        tifffile.imwrite(file, stored, photometric="miniswhite")
        np.testing.assert_array_equal(read_image(file).pixels[..., 0], black - stored)
        np.testing.assert_array_equal(read_label_map(file), stored)

    stored = rng.integers(0, 4096, (40, 50), dtype=np.uint16)
    tifffile.imwrite(file, stored, photometric="miniswhite", bitspersample=12)
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], 4095 - stored)
    for dtype in (np.float64, np.int32):
        tifffile.imwrite(file, stored.astype(dtype), photometric="miniswhite")
        np.testing.assert_array_equal(read_image(file).pixels[..., 0], stored.max() - stored)


@pytest.mark.parametrize("scale", [257, 256, 1])
def test_palette_gives_colours_for_images_and_indices_for_labels(rng, file, scale):
    palette = rng.integers(1, 256, (256, 3), dtype=np.uint8)
    palette[0] = 0
    indices = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    tifffile.imwrite(file, indices, photometric="palette", colormap=palette.T.astype(np.uint16) * scale)
    np.testing.assert_array_equal(read_image(file).pixels, palette[indices])
    np.testing.assert_array_equal(read_label_map(file), indices)


def test_palette_of_one_bit(rng, file):
    mask = rng.random((40, 50)) > 0.5
    tifffile.imwrite(file, mask, photometric="minisblack", extratags=[(320, "H", 6, (0, 65535, 0, 0, 0, 0), True)])
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(3)
    np.testing.assert_array_equal(read_image(file).pixels, mask[..., None] * np.uint8(255))
    np.testing.assert_array_equal(read_label_map(file), mask)


def test_damaged_palette_is_refused(rng, file):
    indices = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    tifffile.imwrite(file, indices, photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        tiff.pages[0].tags["ColorMap"].overwrite([0] * 384)
    with pytest.raises(ImageError, match=r"cells\.tif is a damaged TIFF with uint8 pixels and a palette of shape \("):
        read_image(file)


def test_a_tag_that_cannot_be_read_is_not_replaced_by_its_default(rng, file):
    tifffile.imwrite(file, rng.integers(0, 256, (40, 50), dtype=np.uint8))
    with tifffile.TiffFile(file) as tiff:
        position = tiff.pages[0].tags["PhotometricInterpretation"].offset
    data = bytearray(file.read_bytes())
    struct.pack_into("<H", data, position + 2, 99)  # a type of value that does not exist
    file.write_bytes(data)
    with pytest.raises(ImageError, match=r"cells\.tif is a damaged TIFF whose tag PhotometricInterpretation cannot be"):
        read_image(file)


def test_jpeg_compression_gives_rgb_but_no_labels(file):
    y, x = np.mgrid[:64, :64]
    colours = np.stack([y * 3, x * 3, 255 - y - x], axis=-1).astype(np.uint8)
    tifffile.imwrite(file, colours, photometric="rgb", compression="jpeg", compressionargs={"level": 98})
    assert abs(read_image(file).pixels.astype(int) - colours).max() < 12
    with pytest.raises(ImageError, match=r"cells\.tif is in JPEG compression"):
        read_label_map(file)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "group4"])
def test_files_of_libtiff(rng, file, compression):
    stored = rng.random((40, 50)) > 0.5 if compression == "group4" else rng.integers(0, 256, (40, 50), dtype=np.uint8)
    Pillow.fromarray(stored).save(file, compression=compression)
    expected = stored * np.uint8(255) if stored.dtype == bool else stored
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], expected)


def test_a_thumbnail_beside_the_picture_is_passed_over(rng, file):
    stored = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    with tifffile.TiffWriter(file) as writer:
        writer.write(stored)
        writer.write(stored[::4, ::4], subfiletype=1)
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], stored)


def zeros(*shape):
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("stored", "options", "found"),
    [
        (zeros(5, 40, 50), {}, "5 pages (axes QYX, shape (5, 40, 50))"),
        (zeros(5, 40, 50), {"metadata": None}, "5 pages (axes IYX, shape (5, 40, 50))"),
        (zeros(5, 40, 50), {"imagej": True, "metadata": {"axes": "CYX"}}, "5 channels (axes CYX, shape (5, 40, 50))"),
        (zeros(3, 40, 50), {"imagej": True, "metadata": {"axes": "CYX"}}, "3 channels (axes CYX, shape (3, 40, 50))"),
        (
            zeros(3, 4, 2, 40, 50),
            {"ome": True, "metadata": {"axes": "TZCYX"}},
            "3 time points x 4 planes in Z x 2 channels (axes TZCYX, shape (3, 4, 2, 40, 50))",
        ),
        (zeros(6, 40, 50, 3), {"photometric": "rgb"}, "6 pages x 3 channels (axes QYXS, shape (6, 40, 50, 3))"),
        (
            zeros(32, 32, 32),
            {"volumetric": True, "tile": (16, 16, 16)},
            "32 planes in Z (axes ZYX, shape (32, 32, 32))",
        ),
        (zeros(40, 50, 5), {"photometric": "rgb"}, "5 channels (axes YXS, shape (40, 50, 5))"),
        (
            zeros(40, 50, 4),
            {"photometric": "minisblack", "planarconfig": "contig"},
            "4 channels (axes YXS, shape (40, 50, 4))",
        ),
        (
            zeros(3, 40, 50),
            {"photometric": "minisblack", "planarconfig": "separate"},
            "3 channels (axes SYX, shape (3, 40, 50))",
        ),
    ],
)
@pytest.mark.parametrize("read", [read_image, read_label_map])
def test_more_than_one_plane_is_refused_with_a_list(file, stored, options, found, read):
    tifffile.imwrite(file, stored, **options)
    with pytest.raises(ImageError) as refusal:
        read(file)
    has_channels = "planes in Z" not in found and "x 3 channels" not in found
    hints = {
        read_image: "; choose one with --channel NAME or --channel NUMBER",
        read_label_map: ": save the picture that is wanted as a file of its own",
    }
    hint = f", grey or RGB, was expected{hints[read] if has_channels else ''}"
    if "6 pages x 3 channels" in found:
        hints[read_image] = ": project the stack with --project max or mean, or choose one plane with --project N"
        hint = f" was expected{hints[read]}"
    assert str(refusal.value) == f"{file} holds {found}, where one plane{hint}"


def test_pictures_of_different_sizes_are_refused(file):
    with tifffile.TiffWriter(file) as writer:
        writer.write(zeros(40, 50))
        writer.write(zeros(20, 50))
    with pytest.raises(
        ImageError, match=r"cells\.tif holds 2 pictures \(YX \(40, 50\), YX \(20, 50\)\), where one was"
    ):
        read_image(file)


def test_other_colour_spaces_are_refused(file):
    tifffile.imwrite(file, zeros(40, 50, 4), photometric="separated")
    with pytest.raises(ImageError, match=r"cells\.tif stores its colours as SEPARATED, where grey, RGB or a palette"):
        read_image(file)


def encode(pixels, writer, **options):
    stream = io.BytesIO()
    if writer == "tifffile":
        tifffile.imwrite(stream, pixels, **options)
    else:
        Pillow.fromarray(pixels).save(stream, "TIFF", **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("writer", "options"),
    [
        ("tifffile", {}),  # the directory first, then the data
        ("tifffile", {"compression": "zlib", "rowsperstrip": 8}),
        ("tifffile", {"compression": "lzw"}),
        ("tifffile", {"compression": "packbits"}),
        ("pillow", {"compression": "tiff_lzw"}),  # the data first
    ],
    ids=str,
)
@pytest.mark.parametrize("kept", [4, 8, 30, 100, 0.5, -1])
def test_truncated_tiff_is_refused(rng, file, writer, options, kept):
    data = encode(rng.integers(0, 256, (100, 100), dtype=np.uint8), writer, **options)
    file.write_bytes(data[: int(len(data) * kept)] if isinstance(kept, float) else data[:kept])
    with pytest.raises(ImageError, match=r"cells\.tif (is a|claims).* expected"):
        read_image(file)


def test_a_stack_cut_after_its_first_page_is_not_a_picture(rng, file):
    pages = [Pillow.fromarray(rng.integers(0, 256, (100, 100), dtype=np.uint8)) for _ in range(3)]
    pages[0].save(file, save_all=True, append_images=pages[1:])
    with tifffile.TiffFile(file) as tiff:
        second = tiff.pages[1].offset
    file.write_bytes(file.read_bytes()[: min(second, 10_600)])
    with pytest.raises(ImageError, match=r"cells\.tif is a truncated or damaged TIFF whose second page is missing"):
        read_image(file)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (100_000, 3_000), (0, 40)])
@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
def test_a_header_cannot_claim_more_than_the_data_hold(file, width, height, compression):
    tifffile.imwrite(file, zeros(40, 50), compression=compression, metadata=None)
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        tags = tiff.pages[0].tags
        tags["ImageWidth"].overwrite(width, dtype="I")
        tags["ImageLength"].overwrite(height, dtype="I")
        tags["RowsPerStrip"].overwrite(height, dtype="I")
    with pytest.raises(ImageError, match=rf"cells\.tif claims {width:,} x {height:,} pixels"):
        read_image(file)


def test_a_tile_cannot_claim_more_than_its_data_hold(file):
    tifffile.imwrite(file, zeros(40, 50), compression="zlib", tile=(16, 16))
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        tiff.pages[0].tags["TileWidth"].overwrite(1 << 24)
    with pytest.raises(ImageError, match=r"cells\.tif claims 16,777,216 x 16 pixels a tile, but has \d+ bytes of data"):
        read_image(file)


def test_missing_strips_are_not_filled_in(rng, file):
    tifffile.imwrite(file, rng.integers(0, 256, (40, 50), dtype=np.uint8), compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        tag = tiff.pages[0].tags["StripByteCounts"]
        tag.overwrite([*tag.value[:-1], 0])
    with pytest.raises(
        ImageError, match=r"cells\.tif is an incomplete TIFF with 4 strips or tiles of data, where 5 were"
    ):
        read_image(file)


def test_damaged_directory_is_refused(rng, file):
    data = bytearray(encode(rng.integers(0, 256, (40, 50), dtype=np.uint8), "tifffile"))
    struct.pack_into("<H", data, 8, 60_000)  # that many tags
    file.write_bytes(data)
    with pytest.raises(ImageError, match=r"cells\.tif is a"):
        read_image(file)

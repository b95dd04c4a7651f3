"""PNG files made by hand (zlib and struct), by Pillow and by OpenCV, read back pixel for pixel."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from segmentation.data.images import ImageError, read_image
from segmentation.data.label_maps import read_label_map

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def make_png(width, height, bits, colour_type, rows, before=b""):
    """Write a PNG from its packed rows, (H, bytes a row) uint8; `before` holds chunks that precede the image data."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    image = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + image + chunk(b"IEND", b"")


def pack(values, bits):
    """Pack (H, W) values of `bits` bits into bytes, the leftmost in the top bits."""
    return np.packbits(np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :].reshape(len(values), -1), axis=-1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def write(tmp_path):
    def write(data, name="cells.png"):
        file = tmp_path / name
        file.write_bytes(data)
        return file

    return write


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("colour_type", "samples", "colours"), [(GREY, 1, 1), (RGB, 3, 3), (GREY_ALPHA, 2, 1), (RGBA, 4, 3)])  # fmt: skip # noqa: E501
def test_every_colour_type_keeps_its_depth_and_loses_its_alpha(rng, write, dtype, colour_type, samples, colours):
    stored = rng.integers(0, np.iinfo(dtype).max, (5, 7, samples), dtype=dtype, endpoint=True)
    if samples > colours:
        stored[..., -1] = np.where(stored[..., -1] > 99, np.iinfo(dtype).max, 0)
    file = write(make_png(7, 5, 8 * stored.itemsize, colour_type, stored.astype(stored.dtype.newbyteorder(">"))))

    image = read_image(file)

    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels, stored[..., :colours])
    assert image.channel_names == (("grey",) if colours == 1 else ("red", "green", "blue"))
    assert image.pixels.flags.c_contiguous and image.pixels.flags.writeable


def test_sixteen_bit_colour_written_by_opencv_comes_back_as_rgb(rng, tmp_path):
    rgb = rng.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "cells.png"), rgb[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "cells.png").pixels, rgb)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_less_than_eight_bits_is_spread_over_0_to_255(rng, write, bits):
    values = rng.integers(0, 2**bits, (5, 16), dtype=np.uint8)
    file = write(make_png(16, 5, bits, GREY, pack(values, bits)))
    expected = values * (255 // (2**bits - 1))
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], expected)
    np.testing.assert_array_equal(read_label_map(file), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_colour_palette_gives_colours_for_images_and_indices_for_labels(rng, write, bits):
    palette = rng.integers(1, 256, (2**bits, 3), dtype=np.uint8)
    palette[0] = 0
    indices = rng.integers(0, 2**bits, (5, 16), dtype=np.uint8)
    transparency = chunk(b"tRNS", bytes([0, 9]))
    file = write(make_png(16, 5, bits, PALETTE, pack(indices, bits), chunk(b"PLTE", palette.tobytes()) + transparency))

    expected = palette[indices] if bits > 1 else palette[indices].max(axis=-1, keepdims=True)  # one colour on black
    np.testing.assert_array_equal(read_image(file).pixels, expected)
    np.testing.assert_array_equal(read_label_map(file), indices)
    np.testing.assert_array_equal(np.asarray(Pillow.open(file).convert("RGB")), palette[indices])


def test_grey_palette_is_a_grey_picture_also_as_labels(write):
    # As programs store masks that show white objects with index 0 for white.
    indices = np.array([[0, 1], [1, 1]], np.uint8)
    palette = chunk(b"PLTE", bytes([255] * 3 + [0] * 3))
    file = write(make_png(2, 2, 8, PALETTE, indices, palette))
    np.testing.assert_array_equal(read_label_map(file), [[255, 0], [0, 0]])
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], [[255, 0], [0, 0]])


def test_colour_palette_with_black_elsewhere_than_at_zero_is_no_label_map(write):
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 0]))
    file = write(make_png(2, 1, 8, PALETTE, np.array([[0, 1]], np.uint8), palette))
    with pytest.raises(ImageError, match=r"cells\.png .* black is entry 1, where black at entry 0"):
        read_label_map(file)
    assert read_image(file).pixels.tolist() == [[[255, 0, 0], [0, 0, 0]]]


def test_black_that_no_pixel_uses_does_not_matter(write):
    palette = chunk(b"PLTE", bytes([0, 0, 130, 255, 0, 0] + [0] * 30))  # padded with black
    file = write(make_png(2, 1, 8, PALETTE, np.array([[0, 1]], np.uint8), palette))
    assert read_label_map(file).tolist() == [[0, 1]]


@pytest.mark.parametrize("read", [read_image, read_label_map])
def test_index_beyond_a_grey_palette_is_refused(write, read):
    file = write(make_png(2, 1, 8, PALETTE, np.array([[0, 7]], np.uint8), chunk(b"PLTE", bytes([0] * 3 + [9] * 3))))
    with pytest.raises(ImageError, match=r"cells\.png .* palette entry 7, where at most 1 was expected"):
        read(file)


def test_interlaced_png(rng, write):
    stored = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    # The seven Adam7 passes: first row, first column, row step, column step.
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    data = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in stored[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", 30, 20, 8, GREY, 0, 0, 1)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read_image(write(b"\x89PNG\r\n\x1a\n" + chunks)).pixels[..., 0], stored)


@pytest.mark.parametrize("colour_type", [GREY, PALETTE])
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.9, 0.999])
def test_truncated_png_is_refused(rng, write, fraction, colour_type):
    stored = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    palette = chunk(b"PLTE", rng.integers(0, 256, 768, dtype=np.uint8).tobytes()) if colour_type == PALETTE else b""
    data = make_png(64, 64, 8, colour_type, stored, palette)
    file = write(data[: int(len(data) * fraction)])
    with pytest.raises(ImageError, match=r"cells\.png is a truncated PNG of [\d,]+ bytes, where at least [\d,]+ were"):
        read_image(file)


def test_missing_rows_and_flipped_bytes_are_refused(rng, write):
    stored = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    with pytest.raises(ImageError, match=r"short\.png is a damaged PNG \(Not enough image data\)"):
        read_image(write(make_png(64, 64, 8, GREY, stored[:40]), "short.png"))
    flipped = bytearray(make_png(64, 64, 8, GREY, stored))
    flipped[200] ^= 255
    with pytest.raises(ImageError, match=r"flipped\.png is a damaged PNG"):
        read_image(write(bytes(flipped), "flipped.png"))


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (100_000, 3_000), (0, 5), (5, 0), (2**31 - 1, 1)])
def test_a_header_cannot_claim_more_than_the_data_hold(write, width, height):
    file = write(make_png(width, height, 8, RGB, np.zeros((20, 100), np.uint8)))
    with pytest.raises(
        ImageError, match=rf"cells\.png claims {width:,} x {height:,} pixels.* where .* (expected|read)"
    ):
        read_image(file)


def test_the_most_compressible_picture_is_within_the_claim(write):
    file = write(make_png(4000, 1000, 8, GREY, np.zeros((1000, 4000), np.uint8)))
    assert read_image(file).pixels.shape == (1000, 4000, 1)
    assert not read_image(file).pixels.any()


def test_animation_is_refused(tmp_path):
    frames = [Pillow.new("L", (8, 8), level) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"film\.png holds an animation of 3 frames, where one picture was expected"):
        read_image(tmp_path / "film.png")


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        (chunk(b"IEND", b""), "without a header"),
        (chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 5, 0, 0, 0)) + chunk(b"IEND", b""), "colour type 5 of 8 bits"),
        (chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 3, 0, 0, 0)) + chunk(b"IEND", b""), "colour type 3 of 16"),
        (chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) + chunk(b"IEND", b""), "has 0 bytes of data"),
    ],
)
def test_incoherent_chunks_are_refused(write, chunks, found):
    with pytest.raises(ImageError, match=rf"cells\.png .*{found}"):
        read_image(write(b"\x89PNG\r\n\x1a\n" + chunks))


def test_palette_picture_without_its_palette_is_refused(write):
    with pytest.raises(ImageError, match=r"cells\.png .* palette is missing or incomplete"):
        read_image(write(make_png(2, 1, 8, PALETTE, np.zeros((1, 2), np.uint8))))


def test_pixel_size_of_phys():
    def size(per_metre, unit=1):
        before = chunk(b"pHYs", struct.pack(">IIB", *per_metre, unit))
        return read_image(InMemory(make_png(2, 1, 8, GREY, np.zeros((1, 2), np.uint8), before))).pixel_size_um

    assert size((2_000_000, 2_000_000)) == (0.5, 0.5)
    assert size((2835, 2835)) is None  # 72 dots an inch
    assert size((2_000_000, 1_000_000)) == (1, 0.5)  # height and width
    assert size((0, 0)) is None
    assert size((1, 1), unit=0) is None  # an aspect ratio


class InMemory(io.BytesIO):
    def read_bytes(self):
        return self.getvalue()

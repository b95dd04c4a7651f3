"""JPEG files written by Pillow and imagecodecs; Pillow decodes them a second time."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from segmentation.data.images import ImageError, read_image
from segmentation.data.label_maps import read_label_map


@pytest.fixture
def colours():
    y, x = np.mgrid[:60, :80]
    return np.stack([y * 4, x * 3, 255 - y * 2 - x], axis=-1).astype(np.uint8)


def encode(pixels, **options):
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_colours_as_pillow_reads_them(tmp_path, colours, options):
    file = tmp_path / "tissue.jpg"
    file.write_bytes(encode(colours, **options))
    image = read_image(file)
    difference = image.pixels.astype(int) - np.asarray(Pillow.open(file))
    assert image.pixels.shape == (60, 80, 3) and abs(difference).max() <= 2
    assert image.channel_names == ("red", "green", "blue")


def test_grey(tmp_path, colours):
    (tmp_path / "cells.jpg").write_bytes(encode(colours[..., 0]))
    image = read_image(tmp_path / "cells.jpg")
    np.testing.assert_array_equal(image.pixels[..., 0], np.asarray(Pillow.open(tmp_path / "cells.jpg")))


def test_twelve_bits(tmp_path):
    levels = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (32, 1))
    (tmp_path / "cells.jpg").write_bytes(imagecodecs.jpeg8_encode(levels, bitspersample=12, level=98))
    pixels = read_image(tmp_path / "cells.jpg").pixels[..., 0]
    assert pixels.dtype == np.uint16 and abs(pixels.astype(int) - levels).max() < 100


def test_exif_orientation_is_ignored(tmp_path, colours):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # rotated by a quarter
    (tmp_path / "tissue.jpg").write_bytes(encode(colours, exif=exif))
    assert read_image(tmp_path / "tissue.jpg").pixels.shape == (60, 80, 3)


def test_an_end_marker_inside_a_thumbnail_is_not_the_end(tmp_path, colours):
    thumbnail = encode(colours[:8, :8])
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    whole = encode(colours)
    whole = whole[:2] + segment + whole[2:]
    (tmp_path / "whole.jpg").write_bytes(whole)
    assert read_image(tmp_path / "whole.jpg").pixels.shape == (60, 80, 3)
    (tmp_path / "cut.jpg").write_bytes(whole[:-100])
    with pytest.raises(ImageError, match=r"cut\.jpg is a truncated or damaged JPEG"):
        read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("kept", [3, 20, 100, 400, 0.5, 0.9, -2, -1])
def test_truncated_jpeg_is_refused(tmp_path, colours, kept, options):
    data = encode(colours, **options)
    data = data[: int(len(data) * kept)] if isinstance(kept, float) else data[:kept]
    (tmp_path / "cut.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=rf"cut\.jpg .* \({len(data):,} bytes .*\), where a complete one was expected"):
        read_image(tmp_path / "cut.jpg")


def test_inks_become_colours_as_in_pillow(tmp_path, colours):
    inks = np.asarray(Pillow.fromarray(colours).convert("CMYK")).copy()
    inks[..., 3] = np.linspace(0, 200, inks.shape[1])
    Pillow.fromarray(inks, "CMYK").save(tmp_path / "print.jpg", quality=95)
    expected = np.asarray(Pillow.open(tmp_path / "print.jpg").convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "print.jpg").pixels - expected).max() <= 1


def test_inks_of_12_bits_are_refused(tmp_path):
    inks = np.full((16, 16, 4), 4000, np.uint16)
    data = imagecodecs.jpeg8_encode(inks, bitspersample=12, colorspace="CMYK", outcolorspace="CMYK")
    (tmp_path / "print.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=r"print\.jpg is a JPEG in inks \(CMYK\) of more than 8 bits"):
        read_image(tmp_path / "print.jpg")


@pytest.mark.parametrize("side", [65_000, 9_000, 0])
def test_a_header_cannot_claim_more_than_the_data_hold(tmp_path, colours, side):
    data = bytearray(encode(colours))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = side.to_bytes(2) * 2
    (tmp_path / "huge.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=rf"huge\.jpg claims {side:,} x {side:,} pixels"):
        read_image(tmp_path / "huge.jpg")


def test_jpeg_holds_no_labels(tmp_path, colours):
    (tmp_path / "mask.png").write_bytes(encode(colours[..., 0]))
    with pytest.raises(
        ImageError, match=r"mask\.png is in JPEG compression, which changes labels, where PNG, BMP or TIFF"
    ):
        read_label_map(tmp_path / "mask.png")

"""GIF, WebP, JPEG 2000 and .npy, written by Pillow and NumPy, whole and cut at every length."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from segmentation.data.images import ImageError, read_image
from segmentation.data.label_maps import read_label_map


@pytest.fixture
def colours():
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8), (0, 0), 3)


def saved(colours, **options):
    stream = io.BytesIO()
    Pillow.fromarray(colours).save(stream, **options)
    return stream.getvalue()


def as_npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


LOSSLESS = {
    "webp": lambda colours: saved(colours, format="WebP", lossless=True),
    "jp2": lambda colours: saved(colours, format="JPEG2000"),
    "npy": as_npy,
    "columns": lambda colours: as_npy(np.asfortranarray(colours)),
}


@pytest.mark.parametrize("form", LOSSLESS)
def test_colour_and_grey_come_back_as_stored(tmp_path, colours, form):
    file = tmp_path / "cells"
    file.write_bytes(LOSSLESS[form](colours))
    pixels = read_image(file).pixels
    np.testing.assert_array_equal(pixels, colours)
    assert pixels.flags.writeable
    grey = np.repeat(colours[..., :1], 3, axis=-1)
    file.write_bytes(LOSSLESS[form](grey))
    np.testing.assert_array_equal(read_image(file).pixels, grey[..., :1])


def test_gif_as_pillow_reads_it(tmp_path, colours):
    file = tmp_path / "cells.gif"
    file.write_bytes(saved(colours, format="GIF"))
    np.testing.assert_array_equal(read_image(file).pixels, np.asarray(Pillow.open(file).convert("RGB")))
    palette = Pillow.fromarray(colours).quantize(200)
    palette.save(file, transparency=3)  # transparent pixels are black, the others as they are
    shown = np.where((np.asarray(palette) == 3)[..., None], 0, np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(read_image(file).pixels, shown)
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) // 6 * 255
    Pillow.fromarray(labels).save(file)
    np.testing.assert_array_equal(read_label_map(file), labels)


def test_lossy_webp_and_its_alpha(tmp_path, colours):
    file = tmp_path / "cells.webp"
    alpha = np.full((*colours.shape[:2], 1), 128, np.uint8)
    file.write_bytes(saved(np.concatenate([colours, alpha], axis=-1), format="WebP", quality=95))
    pixels = read_image(file).pixels
    assert np.abs(pixels.astype(int) - colours).mean() < 5
    with pytest.raises(ImageError, match="changes labels"):
        read_label_map(file)


@pytest.mark.parametrize("dtype", [bool, ">u2", np.int64, np.float16])
def test_npy_of_other_types(tmp_path, dtype):
    stored = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    np.save(tmp_path / "cells.npy", stored)
    np.testing.assert_array_equal(read_image(tmp_path / "cells.npy").pixels[..., 0] > 0, stored.astype(bool))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 5)), "shape"),
        (np.zeros((7, 3, 4)), "shape"),
        (np.zeros((0, 4)), "at least 1 x 1"),
        (np.array({"masks": 1}, dtype=object), "Python objects"),
    ],
)
def test_npy_of_no_picture_is_refused(tmp_path, array, message):
    np.save(tmp_path / "cells.npy", array, allow_pickle=True)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "cells.npy")


@pytest.mark.parametrize("form", ["GIF", "WebP"])
def test_animations_are_refused(tmp_path, colours, form):
    frames = [Pillow.fromarray(np.roll(colours, 9 * step, axis=0)) for step in range(3)]
    frames[0].save(tmp_path / "cells", format=form, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animation"):
        read_image(tmp_path / "cells")


@pytest.mark.parametrize("form", ["GIF", "WebP", "lossless", "JPEG2000", "npy"])
def test_a_cut_file_is_refused_at_every_length(tmp_path, colours, form):
    whole = LOSSLESS["webp"] if form == "lossless" else LOSSLESS.get(form, lambda c: saved(c, format=form))
    data = whole(colours)
    for length in {*range(min(80, len(data))), *range(80, len(data), 211), len(data) - 1}:
        (tmp_path / "cells").write_bytes(data[:length])
        with pytest.raises(ImageError, match="cells "):
            read_image(tmp_path / "cells")


def test_claims_beyond_the_data_are_refused_before_memory_is_given(tmp_path, colours):
    gif = bytearray(saved(colours, format="GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 6_000)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (20_000, 20_000), "fortran_order": False, "descr": "|u1"})
    webp = bytearray(LOSSLESS["webp"](np.zeros((9, 9, 3), np.uint8)))
    webp[21:25] = struct.pack("<I", 16_382 | 16_382 << 14)
    for data in gif, header.getvalue(), webp:
        (tmp_path / "cells").write_bytes(data)
        with pytest.raises(ImageError, match="claims"):
            read_image(tmp_path / "cells")

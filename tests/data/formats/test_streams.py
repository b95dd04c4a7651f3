import imagecodecs
import numpy as np
import pytest
import tifffile

from segmentation.data.formats.streams import announced_size
from segmentation.data.images import ImageError, read_image
from segmentation.data.large import open_large

ENCODERS = {
    "png": imagecodecs.png_encode,
    "jpeg": lambda pixels: imagecodecs.jpeg8_encode(pixels, level=90),
    "jpeg2000": lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k"),
    "jp2": lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="jp2"),
    "jpegxl": lambda pixels: imagecodecs.jpegxl_encode(pixels, lossless=True),
    "jpegxl in boxes": lambda pixels: imagecodecs.jpegxl_encode(pixels, usecontainer=True),
    "jpegxr": imagecodecs.jpegxr_encode,
    "webp": lambda pixels: imagecodecs.webp_encode(as_rgb(pixels), level=80),
    "lossless webp": lambda pixels: imagecodecs.webp_encode(as_rgb(pixels), lossless=True),
    "webp with alpha": lambda pixels: imagecodecs.webp_encode(as_rgb(pixels, 4), level=80),
    "lerc": lambda pixels: imagecodecs.lerc_encode(pixels if pixels.ndim == 2 else pixels[..., 0].copy()),
}


def as_rgb(pixels, channels=3):
    return np.broadcast_to(np.atleast_3d(pixels)[..., :1], (*pixels.shape[:2], channels)).copy()


@pytest.mark.parametrize("codec", ENCODERS)
@pytest.mark.parametrize("shape", [(17, 40), (300, 5), (64, 64, 3), (90, 120), (36, 45), (1700, 600), (513, 9000)])
def test_the_announced_size_is_that_of_the_pixels(codec, shape):
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    assert announced_size(ENCODERS[codec](pixels)) == shape[:2]


@pytest.mark.parametrize("place, steps", [(1, (114, 1)), (2, (1, 2)), (0, (2, 1))])
def test_colours_that_openjpeg_cannot_convert_are_refused(tmp_path, capfd, place, steps):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    stream = bytearray(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="jp2"))
    (tmp_path / "cells.jp2").write_bytes(stream)
    np.testing.assert_array_equal(read_image(tmp_path / "cells.jp2").pixels, pixels)
    start = stream.index(b"\xff\x4f\xff\x51")
    stream[start + 43 + 3 * place : start + 45 + 3 * place] = steps
    (tmp_path / "cells.jp2").write_bytes(stream)
    with pytest.raises(ImageError, match=r"cells\.jp2 is JPEG 2000 with samples every .*, where 1 x 1"):
        read_image(tmp_path / "cells.jp2")
    assert capfd.readouterr() == ("", "")


def test_other_streams_and_truncated_ones_announce_nothing():
    assert announced_size(imagecodecs.zstd_encode(bytes(1000), 3)) is None
    for encode in ENCODERS.values():
        stream = encode(np.zeros((9, 9), np.uint8))
        assert all(announced_size(stream[:length]) in (None, (9, 9)) for length in range(len(stream)))


@pytest.mark.parametrize(
    "compression, codec",
    [("png", "png"), ("jpeg", "jpeg"), ("jpeg2000", "jpeg2000"), ("jpegxl", "jpegxl"), ("webp", "webp")],
)
@pytest.mark.parametrize("by_blocks", [False, True])
def test_a_tile_that_holds_many_more_pixels_is_refused_before_it_is_decoded(compression, codec, by_blocks, tmp_path):
    stream = ENCODERS[codec](np.zeros((3000, 2000), np.uint8))
    file = tmp_path / "bomb.tif"
    options = {"shape": (64, 64), "dtype": "uint8", "tile": (64, 64), "photometric": "minisblack", "metadata": None}
    tifffile.imwrite(file, iter([stream]), compression=compression, **options)
    with pytest.raises(ImageError, match=r"bomb\.tif holds a strip or tile of 2,000 x 3,000 pixels, where 64 x 64"):
        if by_blocks:
            open_large(file, None, 0).read(slice(0, 64), slice(0, 64))
        else:
            read_image(file)


@pytest.mark.parametrize("compression", ["png", "jpeg2000", "zstd", "zlib"])
def test_good_tiles_are_read(compression, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90), np.uint8)
    tifffile.imwrite(tmp_path / "good.tif", pixels, tile=(32, 32), compression=compression, metadata=None)
    assert np.array_equal(read_image(tmp_path / "good.tif").pixels[..., 0], pixels)

"""BMP files written by Pillow, OpenCV and by hand."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from segmentation.data.images import ImageError, read_image
from segmentation.data.label_maps import read_label_map


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_colours_without_and_with_alpha(tmp_path, colours):
    Pillow.fromarray(colours).save(tmp_path / "rgb.bmp")
    cv2.imwrite(str(tmp_path / "bgr.bmp"), colours[..., ::-1])
    alpha = np.arange(35, dtype=np.uint8).reshape(5, 7, 1)
    Pillow.fromarray(np.concatenate([colours, alpha], axis=-1)).save(tmp_path / "rgba.bmp")
    cv2.imwrite(str(tmp_path / "bitfields.bmp"), np.concatenate([colours[..., ::-1], alpha], axis=-1))
    for file in tmp_path.iterdir():
        np.testing.assert_array_equal(read_image(file).pixels, colours, err_msg=file.name)


def test_grey_and_bilevel(tmp_path, colours):
    grey = colours[..., 0]
    Pillow.fromarray(grey).save(tmp_path / "grey.bmp")
    Pillow.fromarray(grey > 100).save(tmp_path / "bilevel.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.bmp").pixels[..., 0], grey)
    np.testing.assert_array_equal(read_label_map(tmp_path / "grey.bmp"), grey)
    np.testing.assert_array_equal(read_label_map(tmp_path / "bilevel.bmp"), (grey > 100) * 255)
    assert read_label_map(tmp_path / "grey.bmp").flags.writeable


def test_palette_gives_colours_for_images_and_indices_for_labels(tmp_path, colours):
    picture = Pillow.fromarray(colours[..., 0] % 4, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "palette.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.bmp").pixels, np.asarray(picture.convert("RGB")))
    np.testing.assert_array_equal(read_label_map(tmp_path / "palette.bmp"), colours[..., 0] % 4)


def test_dib_without_the_header_of_a_file(tmp_path, colours):
    pictures = colours, colours[..., 0], colours[..., 0] > 100
    for index, pixels in enumerate(pictures):
        file = tmp_path / f"{index}.dib"
        Pillow.fromarray(pixels).save(file)
        assert file.read_bytes()[:4] == b"\x28\0\0\0"
        np.testing.assert_array_equal(np.squeeze(read_image(file).pixels), pixels * 255 if pixels.dtype == bool else pixels)  # fmt: skip # noqa: E501
    bare = header(3, 2, 32, compression=3)[14:] + struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    (tmp_path / "bitfields.dib").write_bytes(bare + bytes(range(24)))
    np.testing.assert_array_equal(read_image(tmp_path / "bitfields.dib").pixels[1, 0], (2, 1, 0))
    data = bytearray((tmp_path / "1.dib").read_bytes())
    data[32:36] = b"\xff\xff\xff\xff"
    (tmp_path / "1.dib").write_bytes(data[:200])
    with pytest.raises(ImageError, match="claims 7 x 5 pixels"):
        read_image(tmp_path / "1.dib")


def header(width, height, bits, compression=0, per_metre=0, palette=b""):
    start = 54 + len(palette)
    return (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, per_metre, per_metre, 0, 0)
        + palette
    )


def test_four_bits_top_down_and_pixel_size(tmp_path):
    palette = b"".join(bytes([17 * level] * 3 + [0]) for level in range(16))
    rows = bytes([0x12, 0x30, 0, 0]) + bytes([0xF0, 0x50, 0, 0])
    (tmp_path / "cells.bmp").write_bytes(header(3, -2, 4, per_metre=4_000_000, palette=palette) + rows)
    image = read_image(tmp_path / "cells.bmp")
    np.testing.assert_array_equal(image.pixels[..., 0], np.array([[1, 2, 3], [15, 0, 5]]) * 17)
    assert image.pixel_size_um == (0.25, 0.25)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_mask_with_a_palette_of_black_and_white(tmp_path, bits):
    # Of 8 bits, Pillow 13 reads it as if each pixel had one.
    mask = np.random.default_rng(0).integers(0, 2, (4, 8), dtype=np.uint8)
    packed = {1: np.packbits(mask, axis=1), 4: mask[:, ::2] << 4 | mask[:, 1::2], 8: mask}[bits]
    rows = np.zeros((4, 4 if bits < 8 else 8), np.uint8)
    rows[:, : packed.shape[1]] = packed[::-1]
    start = bytearray(header(8, 4, bits, palette=bytes([0, 0, 0, 0, 255, 255, 255, 0])))
    start[46:50] = (2).to_bytes(4, "little")
    (tmp_path / "mask.bmp").write_bytes(bytes(start) + rows.tobytes())
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.bmp"), mask * 255)
    np.testing.assert_array_equal(read_image(tmp_path / "mask.bmp").pixels[..., 0], mask * 255)


def test_os2_header(tmp_path):
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + struct.pack("<IHHHH", 12, 1, 1, 1, 24) + bytes([1, 2, 3, 0])
    (tmp_path / "cells.bmp").write_bytes(data)
    assert read_image(tmp_path / "cells.bmp").pixels.tolist() == [[[3, 2, 1]]]


@pytest.mark.parametrize("kept", [15, 20, 50, 60, -1])
def test_truncated_bmp_is_refused(tmp_path, colours, kept):
    Pillow.fromarray(colours).save(tmp_path / "cells.bmp")
    (tmp_path / "cells.bmp").write_bytes((tmp_path / "cells.bmp").read_bytes()[:kept])
    with pytest.raises(ImageError, match=r"cells\.bmp .*truncated.*|cells\.bmp .*truncated"):
        read_image(tmp_path / "cells.bmp")


@pytest.mark.parametrize(("bits", "compression"), [(16, 0), (8, 1), (32, 3), (0, 0)])
def test_rare_variants_are_refused(tmp_path, bits, compression):
    (tmp_path / "rare.bmp").write_bytes(header(4, 4, bits, compression) + bytes(1000))
    with pytest.raises(
        ImageError, match=rf"rare\.bmp is a BMP of {bits} bits a pixel with compression {compression}, where"
    ):
        read_image(tmp_path / "rare.bmp")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (100_000, 300), (0, 1), (-5, 5), (5, -(2**31))])
def test_a_header_cannot_claim_more_than_the_data_hold(tmp_path, width, height):
    (tmp_path / "huge.bmp").write_bytes(header(width, height, 24) + bytes(2000))
    with pytest.raises(ImageError, match=rf"huge\.bmp claims {width:,} x {abs(height):,} pixels"):
        read_image(tmp_path / "huge.bmp")

"""What holds for images and label maps of every format: content before suffix, dtypes, and refusals in one sentence."""

import io
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from segmentation.data.images import IMAGE_SUFFIXES, ImageError, read_image
from segmentation.data.label_maps import read_label_map

FORMATS = "a PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000, NumPy, ND2, CZI, LIF, OIF or OIB image"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_tiff(file, pixels, **options):
    tifffile.imwrite(file, pixels, **options)
    return file


def test_the_format_is_found_from_the_content(rng, tmp_path):
    stored = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    for written in (".png", ".bmp", ".tif"):
        Pillow.fromarray(stored).save(tmp_path / f"cells{written}")
        for named in IMAGE_SUFFIXES:
            file = tmp_path / f"other{named}"
            file.write_bytes((tmp_path / f"cells{written}").read_bytes())
            np.testing.assert_array_equal(read_image(file).pixels[..., 0], stored)
    Pillow.fromarray(stored).save(tmp_path / "cells.jpg")
    (tmp_path / "jpeg.png").write_bytes((tmp_path / "cells.jpg").read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path / "jpeg.png").pixels[..., 0], Pillow.open(tmp_path / "cells.jpg"))


def test_members_of_an_archive_read_as_files_do(rng, tmp_path):
    stored = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "cells.png"), stored)
    write_tiff(tmp_path / "cells.tif", stored, compression="zlib")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("cells.png", "cells.tif"):
            archive.write(tmp_path / name, f"images/{name}")
    for name in ("cells.png", "cells.tif"):
        member = zipfile.Path(tmp_path / "set.zip") / "images" / name
        np.testing.assert_array_equal(read_image(member).pixels[..., 0], stored)
        np.testing.assert_array_equal(read_label_map(member), stored)
    missing = zipfile.Path(tmp_path / "set.zip") / "images" / "other.png"
    with pytest.raises(ImageError, match=r"set\.zip/images/other\.png does not exist"):
        read_image(missing)
    with pytest.raises(ImageError, match=r"set\.zip/images/ is a folder"):
        read_image(zipfile.Path(tmp_path / "set.zip") / "images/")


def test_damaged_member_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("cells.png", bytes(1000))
    data = bytearray((tmp_path / "set.zip").read_bytes())
    data[500] ^= 255
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(ImageError, match=r"set\.zip/cells\.png cannot be read \(Bad CRC-32.*\), where a PNG"):
        read_image(zipfile.Path(tmp_path / "set.zip") / "cells.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colours_that_are_all_equal_become_grey(rng, tmp_path, dtype):
    grey = (rng.random((20, 30)) * 250).astype(dtype)
    colours = np.stack([grey] * 3, axis=-1)
    image = read_image(write_tiff(tmp_path / "cells.tif", colours, photometric="rgb"))
    assert image.channel_names == ("grey",)
    np.testing.assert_array_equal(image.pixels, grey[..., None])
    colours[-1, -1, 2] += 1
    image = read_image(write_tiff(tmp_path / "cells.tif", colours, photometric="rgb"))
    assert image.channel_names == ("red", "green", "blue")
    np.testing.assert_array_equal(image.pixels, colours)


def test_opaque_and_varying_alpha_are_both_dropped(rng, tmp_path):
    grey = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    for alpha in (np.full_like(grey, 255), np.zeros_like(grey), np.where(grey > 99, 255, 0).astype(np.uint8)):
        Pillow.fromarray(np.stack([grey, grey, grey, alpha], axis=-1)).save(tmp_path / "cells.png")
        np.testing.assert_array_equal(read_image(tmp_path / "cells.png").pixels, grey[..., None])
        np.testing.assert_array_equal(read_label_map(tmp_path / "cells.png"), grey)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("f2", np.float32),
        ("f8", np.float32),
        ("i1", np.uint8),
        ("i2", np.uint16),
        ("i4", np.uint16),
        ("u4", np.uint16),
        ("i8", np.uint16),
        ("u8", np.uint16),
    ],
)
@pytest.mark.parametrize("byteorder", "<>")
def test_other_types_become_the_one_that_holds_them(rng, tmp_path, stored, expected, byteorder):
    values = rng.integers(0, 128, (20, 30)).astype(stored)
    image = read_image(write_tiff(tmp_path / "cells.tif", values, byteorder=byteorder))
    assert image.pixels.dtype == expected
    np.testing.assert_array_equal(image.pixels[..., 0], values)


@pytest.mark.parametrize("values", [[-1, 5], [0, 65_536], [-2_000_000, 2_000_000], [0, 16_777_215]])
@pytest.mark.parametrize("stored", ["i2", "u4", "i4", "i8", "f8"])
def test_numbers_beyond_16_bits_become_float32(tmp_path, values, stored):
    array = np.array([values])
    if not np.array_equal(array, array.astype(stored)):
        pytest.skip("the type does not hold the values")
    image = read_image(write_tiff(tmp_path / "cells.tif", array.astype(stored)))
    assert image.pixels.dtype == np.float32 and image.gaps == 0
    np.testing.assert_array_equal(image.pixels[..., 0], array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_that_are_no_numbers_are_background(rng, tmp_path, bad, channels):
    values = rng.normal(size=(21, 31, channels)).round(3)
    values[0], values[5, 5, -1] = bad, bad
    values = values[..., 0] if channels == 1 else values
    image = read_image(write_tiff(tmp_path / "cells.tif", values))
    with np.errstate(over="ignore"):
        stored = np.atleast_3d(values.astype(np.float32))
    is_bad = ~np.isfinite(stored)
    assert image.gaps == is_bad.sum() == 31 * channels + 1
    for channel in range(channels):
        found, hidden = image.pixels[..., channel], is_bad[..., channel]
        np.testing.assert_array_equal(found[~hidden], stored[..., channel][~hidden])
        middle = np.sort(found[~hidden])[-(-(~hidden).sum() // 2) - 1]
        assert (found[hidden] == middle).all()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([[0, 1j]], np.complex64), "holds complex64 values, where integers or real numbers were expected"),
        (np.array([[np.nan, np.inf, -np.inf]], np.float32), "holds 3 values that are NaN or infinite, where finite"),
        (np.array([[1e300]], np.float64), "holds 1 values that are NaN or infinite, where finite ones were expected"),
    ],
)
def test_values_that_no_image_has(tmp_path, values, found):
    file = write_tiff(tmp_path / "cells.tif", values)
    with pytest.raises(ImageError) as refusal:
        read_image(file)
    assert str(refusal.value).startswith(f"{file} {found}")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("u1", "u1"), ("u2", "u2"), ("u4", "u4"), ("i1", "u1"), ("i2", "u2"), ("i4", "u4"), ("i8", "u4"), ("u8", "u4"),
     ("f2", "u4"), ("f4", "u4"), ("f8", "u4")],
)  # fmt: skip
@pytest.mark.parametrize("byteorder", "<>")
def test_label_maps_keep_their_numbers(rng, tmp_path, stored, expected, byteorder):
    values = rng.integers(0, 128, (20, 30)).astype(stored)
    labels = read_label_map(write_tiff(tmp_path / "labels.tif", values, byteorder=byteorder))
    assert labels.dtype == expected and labels.flags.c_contiguous and labels.flags.writeable
    np.testing.assert_array_equal(labels, values)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([[0, -1]], np.int32), "holds int32 values from -1 to 0, where labels from 0 to 4294967295"),
        (np.array([[0, 2**32]], np.uint64), "holds uint64 values from 0 to 4294967296, where labels"),
        (np.array([[0.5, 1]], np.float32), "holds 1 float32 values that are not whole numbers, where labels"),
        (np.array([[np.nan, np.inf]], np.float64), "holds 2 float64 values that are not whole numbers"),
        (np.array([[-2, 1]], np.float32), "holds float32 values from -2 to 1, where labels"),
        (np.array([[0, 1j]], np.complex64), "holds complex64 values"),
    ],
)
def test_values_that_no_label_map_has(tmp_path, values, found):
    file = write_tiff(tmp_path / "labels.tif", values)
    with pytest.raises(ImageError) as refusal:
        read_label_map(file)
    assert str(refusal.value).startswith(f"{file} {found}")


def test_colours_without_black_are_no_label_map(rng, tmp_path):
    Pillow.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "labels.png")
    with pytest.raises(ImageError, match=r"labels\.png is a colour picture without black, where a mask"):
        read_label_map(tmp_path / "labels.png")


@pytest.mark.parametrize("read", [read_image, read_label_map])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty (0 bytes)"),
        (b"id,subset\n1,train\n", r"is a text file that begins with 'id,subset\n1,train\n'"),
        (b"BMI of patients\n", r"is a text file that begins with 'BMI of patients\n'"),
        (bytes(100), "is of an unknown format that begins with the bytes 00 00 00 00 00 00 00 00"),
        (b"QQ89a\xff\0", "is of an unknown format that begins with the bytes 51 51 38 39 61 ff 00"),
    ],
)
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_files_that_hold_no_image(tmp_path, content, found, suffix, read):
    file = tmp_path / f"cells{suffix}"
    file.write_bytes(content)
    with pytest.raises(ImageError) as refusal:
        read(file)
    assert str(refusal.value) == f"{file} {found}, where {FORMATS} was expected"


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=rf"cells\.png does not exist, where {FORMATS} was expected"):
        read_image(tmp_path / "cells.png")
    with pytest.raises(ImageError, match=f" is a folder, where {FORMATS} was expected"):
        read_image(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"cells\.png cannot be read \(.*Not a directory"):
        read_image(tmp_path / "file" / "cells.png")


def test_a_picture_larger_than_the_memory(tmp_path, monkeypatch):
    def exhausted(data):
        raise MemoryError

    Pillow.new("L", (8, 8)).save(tmp_path / "cells.png")
    monkeypatch.setattr("imagecodecs.png_decode", exhausted)
    with pytest.raises(ImageError, match=r"cells\.png needs more memory than is free"):
        read_image(tmp_path / "cells.png")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="file modes do not bar reading on this system")
def test_file_without_read_permission(tmp_path):
    file = tmp_path / "cells.png"
    file.write_bytes(b"")
    file.chmod(0)
    superuser = os.geteuid() == 0  # who may read everything, and so becomes somebody else for a moment
    if superuser:
        os.seteuid(65534)
    try:
        with pytest.raises(ImageError, match=r"cells\.png may not be read \(permission denied\), where"):
            read_image(file)
    finally:
        if superuser:
            os.seteuid(0)


def samples_of_every_format(rng):
    y, x = np.mgrid[:48, :64]
    colours = np.stack([y * 5, x * 3, (x + y) * 2], axis=-1).astype(np.uint8)
    for name in ("PNG", "JPEG", "BMP", "TIFF"):
        for mode in ("L", "RGB", "P"):
            if (name, mode) != ("JPEG", "P"):
                stream = io.BytesIO()
                Pillow.fromarray(colours).convert(mode).save(stream, name)
                yield stream.getvalue()
    for options in ({"compression": "lzw"}, {"compression": "zlib", "tile": (16, 16)}, {"imagej": True}, {"ome": True}):
        stream = io.BytesIO()
        tifffile.imwrite(stream, colours[..., 0].astype(np.uint16), **options)
        yield stream.getvalue()


def damaged(data, rng):
    """Cut the bytes short in four places, and overwrite some: mostly where it hurts, in the headers."""
    for fraction in (0.1, 0.5, 0.9, 0.99):
        yield data[: int(len(data) * fraction)]
    for positions in [rng.integers(0, 300, 2) for _ in range(15)] + [rng.integers(0, len(data), 20)]:
        overwritten = np.frombuffer(data, np.uint8).copy()
        overwritten[positions % len(data)] = rng.integers(0, 256, len(positions))
        yield overwritten.tobytes()


REPOSITORY = Path(__file__).parents[2]
# In a process of its own: pytest listens to logging, which would otherwise print to standard error.
READ_ALL = """
import sys
from pathlib import Path
from segmentation.data.images import ImageError, read_image
from segmentation.data.label_maps import read_label_map

for file in sorted(Path(sys.argv[1]).iterdir()):
    for read in (read_image, read_label_map):
        try:
            read(file)
        except ImageError as refusal:
            print(refusal)
"""


def test_damage_anywhere_gives_an_image_or_one_sentence_and_no_noise(rng, tmp_path):
    n_files = 0
    for data in samples_of_every_format(rng):
        for content in damaged(data, rng):
            (tmp_path / f"{n_files:04}.img").write_bytes(content)
            n_files += 1
    finished = subprocess.run(
        [sys.executable, "-c", READ_ALL, tmp_path], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert finished.stderr == "" and finished.returncode == 0
    sentences = finished.stdout.splitlines()
    assert n_files < len(sentences) <= 2 * n_files
    assert all(sentence.startswith(f"{tmp_path}{os.sep}") for sentence in sentences)


def test_many_threads_read_what_one_reads(rng, tmp_path):
    files = []
    for index, data in enumerate(samples_of_every_format(rng)):
        files.append(tmp_path / f"{index}.img")
        files[-1].write_bytes(data)
    alone = [read_image(file).pixels for file in files]
    with ThreadPoolExecutor(8) as pool:
        for file_index, pixels in enumerate(pool.map(lambda file: read_image(file).pixels, files * 10)):
            np.testing.assert_array_equal(pixels, alone[file_index % len(files)])

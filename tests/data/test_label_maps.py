import io
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from segmentation.data.archive import list_files
from segmentation.data.images import ImageError
from segmentation.data.label_maps import read_label_map


def refusal(file):
    with pytest.raises(ImageError) as caught:
        read_label_map(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(file))


def is_one_to_one(first, second):
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(first)) == len(np.unique(second))


@pytest.mark.parametrize("dtype", [bool, np.uint8, ">u2", np.int32, np.int64, np.float32])
def test_arrays_of_numpy(tmp_path, nuclei, dtype):
    labels = nuclei.astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(labels))
    read = read_label_map(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, labels.astype(np.uint8) * 255 if dtype is bool else labels)
    assert read.flags.writeable
    np.save(tmp_path / "a.npy", labels[None, ..., None])
    assert read_label_map(tmp_path / "a.npy").shape == nuclei.shape
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    np.testing.assert_array_equal(read_label_map(list_files(tmp_path / "a.zip")[0]["a.npy"]), read)


def test_arrays_that_are_no_label_map(tmp_path, nuclei):
    file = tmp_path / "a.npy"
    np.save(file, {"masks": nuclei}, allow_pickle=True)
    assert "holds Python objects, as Cellpose's _seg.npy does" in refusal(file)
    np.save(file, np.zeros((3, 4, 5), np.uint8))
    assert "shape (3, 4, 5)" in refusal(file)
    np.save(file, np.array(["a", "b"])[None])
    assert "holds str" in refusal(file)
    np.save(file, np.full((2, 2), 0.5))
    assert "not whole numbers" in refusal(file)
    file.write_bytes(b"text")
    assert "is a text file" in refusal(file)
    assert "does not exist" in refusal(tmp_path / "absent.npy")


def test_a_damaged_array_gives_one_sentence_and_claims_are_checked_before_memory_is_taken(tmp_path, nuclei):
    stream = io.BytesIO()
    np.save(stream, nuclei)
    content, file = stream.getvalue(), tmp_path / "a.npy"
    for length in (*range(0, 128), len(content) - 1):
        file.write_bytes(content[:length])
        refusal(file)
    file.write_bytes(content.replace(b"(48, 64)", b"(4800000, 64000000)"))
    assert "claims 64,000,000 x 4,800,000 pixels" in refusal(file)
    file.write_bytes(content.replace(b"(48, 64)", b"(4000, 6400)"))
    assert "is truncated" in refusal(file)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, 128, 3):
            damaged[place] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            assert read_label_map(file).ndim == 2
        except ImageError as error:
            assert str(error).startswith(str(file))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_each_colour_is_a_nucleus(tmp_path, nuclei, suffix):
    colours = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200], [200, 0, 200], [0, 1, 0]], np.uint8)[nuclei]
    Pillow.fromarray(colours).save(tmp_path / f"a{suffix}")
    labels = read_label_map(tmp_path / f"a{suffix}")
    assert is_one_to_one(labels, nuclei) and np.array_equal(labels == 0, nuclei == 0)


def test_colours_without_black_have_no_background(tmp_path, nuclei):
    Pillow.fromarray(np.array([[9, 9, 9], [9, 0, 0], [0, 0, 9], [9, 0, 9], [0, 1, 0]], np.uint8)[nuclei]).save(
        tmp_path / "a.png"
    )
    assert "is a colour picture without black" in refusal(tmp_path / "a.png")
    Pillow.fromarray(np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[np.minimum(nuclei, 1)]).save(tmp_path / "a.jpg")
    assert "is in JPEG compression" in refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize("quality", [50, 75, 90, 100])
def test_a_binary_mask_survives_jpeg(tmp_path, quality):
    mask = np.zeros((90, 120), np.uint8)
    for number, (x, y) in enumerate(np.random.default_rng(0).integers(10, 80, (12, 2)).tolist()):
        cv2.circle(mask, (x, y), 4 + number, 255, -1)
    Pillow.fromarray(mask).save(tmp_path / "a.jpg", quality=quality)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.jpg"), mask)
    Pillow.fromarray(mask * 0).save(tmp_path / "empty.jpg", quality=quality)
    assert not read_label_map(tmp_path / "empty.jpg").any()
    for other in (cv2.resize(mask, (60, 45), interpolation=cv2.INTER_AREA), mask // 255, mask // 2):
        Pillow.fromarray(other).save(tmp_path / "b.jpg", quality=quality)
        if read_from_jpeg(tmp_path / "b.jpg").any():
            assert "is in JPEG compression, which changes labels" in refusal(tmp_path / "b.jpg")


def read_from_jpeg(file):
    return np.asarray(Pillow.open(file))


def test_a_mask_in_the_alpha_channel_alone_is_refused(tmp_path, nuclei):
    alpha = np.uint8(255 * (nuclei > 0))
    for value, mode, suffixes in ((0, "RGBA", (".png", ".tif")), (255, "RGBA", (".png",)), (0, "LA", (".png",))):
        picture = Pillow.new("L", alpha.shape[::-1], value).convert(mode[:-1])
        picture.putalpha(Pillow.fromarray(alpha))
        for suffix in suffixes:
            picture.save(tmp_path / f"a{suffix}")
            assert "shapes in its alpha channel alone" in refusal(tmp_path / f"a{suffix}")
    picture = Pillow.fromarray(alpha).convert("RGB")
    picture.putalpha(Pillow.fromarray(alpha))
    picture.save(tmp_path / "both.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "both.png"), alpha)

import numpy as np
import pytest

from segmentation.data.problems import DatasetError
from segmentation.data.run_lengths import decode_run_lengths, encode_run_lengths, read_run_length_table


def encode(mask):
    """The Bowl's encoding, pixel by pixel: the oracle."""
    runs, last = [], -2
    for index in np.flatnonzero(mask.T):
        if index > last + 1:
            runs += [index + 1, 0]
        runs[-1] += 1
        last = index
    return " ".join(map(str, runs))


def test_decoding_gives_every_drawn_mask_back():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 3), (3, 7), (40, 25)):
        mask = rng.random(shape) < 0.4
        mask[0, 0] = mask[-1, -1] = True
        indices = decode_run_lengths(encode(mask), shape)
        flat = np.zeros(mask.size, bool)
        flat[indices] = True
        np.testing.assert_array_equal(flat.reshape(shape, order="F"), mask)
    assert decode_run_lengths("", (3, 3)).size == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 2 3", "pairs"),
        ("1 x", "integers"),
        ("1.5 2", "integers"),
        ("0 2", "leaves an image of 2 x 3 = 6 pixels"),
        ("6 2", "run '6 2' leaves"),
        ("3 0", "leaves"),
        ("9000000000000000000 9000000000000000000", "leaves"),
        ("99999999999999999999999 1", "integers"),
    ],
)
def test_wrong_run_lengths_are_named(text, expected):
    with pytest.raises(ValueError, match=expected):
        decode_run_lengths(text, (2, 3))


def test_a_table_of_either_naming_and_of_empty_images(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("\ufeffImageId,EncodedPixels\r\na,1 2\r\nb.png,3 1\r\na,5 1\r\nempty,\r\n", encoding="utf-8")
    assert read_run_length_table(file) == {"a": ("1 2", "5 1"), "b": ("3 1",), "empty": ()}


def test_a_row_without_its_columns_is_refused_with_its_line(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("ImageId,EncodedPixels\na,1 2\nb\n")
    with pytest.raises(DatasetError, match=r"labels.csv, line 3: expected the columns ImageId and EncodedPixels"):
        read_run_length_table(file)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (23, 31)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16])
def test_what_is_encoded_is_decoded(shape, dtype):
    rng = np.random.default_rng(0)
    for labels in (rng.integers(0, 4, shape), np.ones(shape), np.zeros(shape), rng.integers(1, 3, shape) * 7):
        labels = labels.astype(dtype)
        texts = encode_run_lengths(labels)
        present = [label for label in np.unique(labels) if label]
        assert len(texts) == len(present)
        decoded = np.zeros(labels.size, dtype)
        for label, text in zip(present, texts, strict=True):
            decoded[decode_run_lengths(text, shape)] = label
        np.testing.assert_array_equal(decoded.reshape(shape, order="F"), labels)


def test_the_rules_of_the_bowl_give_the_label_map_back():
    """Pixels are numbered from 1, top to bottom, then left to right; pairs of start and length, in ascending order."""
    labels = np.random.default_rng(1).integers(0, 3, (7, 5))
    decoded = np.zeros_like(labels)
    for label, text in enumerate(encode_run_lengths(labels), 1):
        starts, lengths = list(map(int, text.split()[::2])), list(map(int, text.split()[1::2]))
        assert starts == sorted(starts)
        for start, length in zip(starts, lengths, strict=True):
            for number in range(start - 1, start - 1 + length):
                assert decoded[number % 7, number // 7] == 0
                decoded[number % 7, number // 7] = label
    np.testing.assert_array_equal(decoded, labels)


def test_runs_are_as_long_as_they_can_be():
    assert encode_run_lengths(np.ones((5, 4), int)) == ["1 20"]


def test_ids_that_look_like_numbers_or_nothing_stay_as_they_are(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("EncodedPixels,ImageId\n1 2,007\n\n3 1,NA\n5 1,007\n")
    assert read_run_length_table(file) == {"007": ("1 2", "5 1"), "NA": ("3 1",)}


@pytest.mark.parametrize("text", ["1_0 2", "\u0661 2", "+1 2", "1 2.0"])
def test_only_plain_digits_are_numbers(text):
    with pytest.raises(ValueError, match="expected integers"):
        decode_run_lengths(text, (10, 10))


@pytest.mark.parametrize("text", ["1 5 3 2", "7 3 1 7", "4 2 4 2"])
def test_runs_that_overlap_are_refused(text):
    with pytest.raises(ValueError, match="runs overlap each other"):
        decode_run_lengths(text, (10, 10))


def test_many_overlapping_runs_are_refused_before_memory_is_asked_for():
    with pytest.raises(ValueError, match="runs overlap each other"):
        decode_run_lengths("1 90000000 " * 12_000, (10_000, 9_000))

import numpy as np
import pytest

from segmentation.data.run_lengths import decode_run_lengths
from segmentation.results.run_lengths import encode_run_lengths, submission_rows


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


def test_an_image_without_nuclei_has_one_empty_row():
    assert submission_rows("a", np.zeros((3, 4), int)) == [("a", "")]
    assert submission_rows("a", np.array([[1, 2]])) == [("a", "1 1"), ("a", "2 1")]

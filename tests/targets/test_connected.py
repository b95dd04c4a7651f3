"""One piece without holes: beside SciPy, label by label, on label maps of every kind."""

import numpy as np
import pytest
from scipy import ndimage

from segmentation.targets.connected import make_connected

EIGHT = np.ones((3, 3))


def by_scipy(label_map, cut=None):
    result = label_map.copy()
    labels = set(np.unique(label_map)) - {0} - (set() if cut is None else set(label_map[cut]))
    for label in labels:
        pieces, _ = ndimage.label(label_map == label, EIGHT)
        areas = np.bincount(pieces.ravel())[1:]
        result[(pieces > 0) & (pieces != areas.argmax() + 1)] = 0
    for label in sorted(labels):
        filled = ndimage.binary_fill_holes(result == label)
        result[filled & (result == 0)] = label
    return result


def patches(seed, shape, labels, size):
    """A label map of blobs that overlap, with noise: many pieces, many holes, thin parts."""
    rng = np.random.default_rng(seed)
    label_map = np.zeros(shape, np.int32)
    for label in range(1, labels + 1):
        height, width = rng.integers(1, size + 1, 2)
        row, column = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        label_map[row : row + height, column : column + width] = label
    label_map[rng.random(shape) < 0.08] = 0
    moved = rng.random(shape) < 0.02
    label_map[moved] = rng.integers(0, labels + 1, np.count_nonzero(moved))
    return label_map


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("shape", "labels", "size"), [((60, 75), 12, 25), ((1, 90), 8, 9), ((90, 1), 8, 9), ((33, 20), 3, 30)])  # fmt: skip # noqa: E501
def test_as_scipy_does_it(seed, shape, labels, size):
    label_map = patches(seed, shape, labels, size)
    before = label_map.copy()
    np.testing.assert_array_equal(make_connected(label_map), by_scipy(label_map))
    np.testing.assert_array_equal(label_map, before)
    cut = np.zeros(shape, bool)
    cut[0, : shape[1] // 2] = True
    np.testing.assert_array_equal(make_connected(label_map, cut), by_scipy(label_map, cut))


def test_what_is_connected_and_without_holes_stays():
    rows, columns = np.mgrid[:40, :60]
    label_map = np.zeros((40, 60), np.int32)
    label_map[(rows - 15) ** 2 + (columns - 15) ** 2 < 100] = 7
    label_map[(rows - 15) ** 2 + (columns - 32) ** 2 < 100] = 3
    label_map[np.arange(25, 40), np.arange(25, 40)] = 2  # from corner to corner
    label_map[0, 0] = label_map[39, 59] = 9
    expected = label_map.copy()
    expected[39, 59] = 0
    np.testing.assert_array_equal(make_connected(label_map), expected)


def test_a_letter_u_is_one_piece_and_a_ring_is_a_disk():
    label_map = np.zeros((9, 20), np.int32)
    label_map[1:8, 1:8], label_map[1:7, 3:6] = 1, 0
    label_map[1:8, 11:18], label_map[3:6, 13:16] = 2, 0
    expected = label_map.copy()
    expected[3:6, 13:16] = 2
    np.testing.assert_array_equal(make_connected(label_map), expected)


def test_another_nucleus_within_a_ring_stays():
    label_map = np.zeros((9, 9), np.int32)
    label_map[1:8, 1:8], label_map[2:7, 2:7] = 1, 0
    label_map[4, 4] = 2
    found = make_connected(label_map)
    assert found[4, 4] == 2 and (found == 1).sum() == 48


@pytest.mark.parametrize("shape", [(5, 6), (1, 1), (0, 3)])
def test_nothing_stays_nothing_and_everything_everything(shape):
    for label in (0, 4):
        label_map = np.full(shape, label, np.int32)
        np.testing.assert_array_equal(make_connected(label_map), label_map)

import numpy as np
import pytest

from segmentation.targets import touching_border
from segmentation.targets.touching_border import decode, encode
from tests.targets.label_maps import LABEL_MAPS, draw_disks, overlaps


def rectangles(height, width, gap=0):
    """Two side by side, `gap` pixels of background between them."""
    label_map = np.zeros((height + 4, 2 * width + gap + 4), np.int32)
    label_map[2:-2, 2 : 2 + width] = 1
    label_map[2:-2, 2 + width + gap : -2] = 2
    return label_map


def by_loops(label_map):
    """The winners' rule: border is what has two nuclei around it, within a distance that the area decides."""
    area = np.bincount(label_map.ravel())
    border = np.zeros(label_map.shape, bool)
    for row, column in np.ndindex(label_map.shape):
        own = label_map[row, column]
        reach = 2 if own == 0 else 1 if area[own] < 300 else 2 if area[own] < 2000 else 3
        around = label_map[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        border[row, column] = len(np.unique(around[around > 0])) > 1
    return border


@pytest.mark.parametrize("name", ["touching_disks", "squeezed_disks", "cut_by_the_edge", "stained_0", "fluorescence_1"])
def test_against_a_loop_over_the_pixels(name):
    label_map = LABEL_MAPS[name]()
    encoded = encode(label_map)
    assert np.array_equal(encoded[..., 0], label_map > 0)
    assert np.array_equal(encoded[..., 1], by_loops(label_map))


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_something_is_left_of_every_nucleus(name):
    label_map = LABEL_MAPS[name]()
    encoded = encode(label_map)
    assert encoded.shape == (*label_map.shape, 2) and encoded.dtype == np.float32
    assert set(np.unique(encoded)) <= {0, 1}
    left = np.unique(label_map[(label_map > 0) & (encoded[..., 1] == 0)])
    assert np.array_equal(left, np.unique(label_map[label_map > 0]))


@pytest.mark.parametrize("height, width, border", [(15, 19, 1), (20, 15, 2), (49, 40, 2), (50, 40, 3), (90, 80, 3)])
def test_the_border_is_the_wider_the_larger_the_nuclei(height, width, border):
    encoded = encode(rectangles(height, width))
    assert touching_border.channels == ("foreground", "border")
    row = encoded[height // 2 + 2, :, 1]
    assert np.array_equal(np.flatnonzero(row), np.arange(2 + width - border, 2 + width + border))


@pytest.mark.parametrize("gap, columns", [(1, 1), (2, 2), (3, 1), (4, 0)])
def test_background_that_nearly_closes_is_border(gap, columns):
    encoded = encode(rectangles(10, 10, gap))
    assert np.count_nonzero(encoded[7, 12 : 12 + gap, 1]) == columns


def test_a_nucleus_that_the_border_would_divide_has_a_narrower_one():
    label_map = np.full((40, 70), 2, np.int32)
    label_map[:20] = 3
    label_map[5:35, 5:30] = label_map[5:35, 40:65] = 1
    label_map[17:22, 30:40] = (
        1  # a waist of five pixels: of the two pixels to each side that its area asks for, one is left
    )
    decoded = decode(encode(label_map))
    assert decoded.max() == 3 and overlaps(label_map, decoded).max(axis=1).min() > 0.95


def test_the_rest_of_the_foreground_goes_to_the_nearest_seed():
    label_map = rectangles(30, 30)
    predicted = encode(label_map)
    predicted[..., 1] = 0
    predicted[:, 28:37, 1] = 1  # wider than it would be, and as level
    assert (overlaps(label_map, decode(predicted)).max(axis=1) > 0.95).all()


def test_an_uneven_border_divides_along_its_crest():
    label_map = rectangles(30, 30)
    predicted = encode(label_map)
    predicted[..., 1] = np.exp(-((np.arange(64) - 31.5) ** 2) / 8) * 0.8
    assert np.array_equal(decode(predicted), label_map)


def test_a_faint_border_does_not_divide():
    predicted = encode(rectangles(30, 30))
    predicted[..., 1] *= 0.45
    assert decode(predicted).max() == 1


def test_foreground_that_is_all_border_is_labelled():
    label_map = draw_disks((40, 40), (10, 10, 6), (30, 30, 6))
    predicted = encode(label_map)
    predicted[..., 1] = 1
    assert np.array_equal(decode(predicted), label_map)


def test_foreground_is_above_the_threshold_alone():
    encoded = encode(draw_disks((20, 20), (10, 10, 6)))
    encoded[..., 0] *= 0.5
    assert not decode(encoded).any()  # 0.5 is not greater than 0.5
    assert np.array_equal(decode(encoded, foreground=0.49) > 0, encoded[..., 0] > 0)

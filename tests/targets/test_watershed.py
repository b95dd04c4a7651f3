import cv2
import numpy as np
import pytest

from segmentation.targets.watershed import divide_hills
from tests.targets.label_maps import overlaps

NEIGHBOURS = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if (down, across) != (0, 0)]


def flooded(height, foreground, depth):
    """The same by a loop over the pixels from the highest down: the label map, and the top of each hill."""
    pixels = sorted(zip(*np.nonzero(foreground), strict=True), key=lambda pixel: height[pixel], reverse=True)
    top, leader = {}, {}

    def lead(pixel):
        while leader[pixel] != pixel:
            pixel = leader[pixel]
        return pixel

    for pixel in pixels:
        beside = [(pixel[0] + down, pixel[1] + across) for down, across in NEIGHBOURS]
        dry = [other for other in beside if other in top]
        if not dry:
            top[pixel] = leader[pixel] = pixel
            continue
        top[pixel] = top[max(dry, key=lambda other: height[other])]
        for other in dry:
            low, high = sorted((lead(top[pixel]), lead(top[other])), key=lambda peak: height[peak])
            if low != high and height[low] - height[pixel] <= depth:
                leader[low] = high
    peaks = sorted(leader)
    label_map = np.zeros(foreground.shape, int)
    for pixel in pixels:
        label_map[pixel] = peaks.index(lead(top[pixel])) + 1
    return label_map, sorted({lead(peak) for peak in peaks})


def same_partition(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(one)) == len(np.unique(other))


@pytest.mark.parametrize("depth", [0.0, 0.1, 0.4, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_against_a_loop_that_floods(seed, depth):
    rng = np.random.default_rng(seed)
    height = cv2.GaussianBlur(rng.random((30, 40)), (0, 0), 1.0)
    height = (height - height.min()) / np.ptp(height)
    foreground = rng.random((30, 40)) < 0.8
    found = divide_hills(height.astype(np.float32), foreground, depth)
    expected, tops = flooded(height.astype(np.float32), foreground, depth)
    assert found.dtype == np.int32 and np.array_equal(np.unique(found[foreground]), np.arange(1, found.max() + 1))
    # The same hills; a low hill between two of them goes to one or is divided, so that few pixels may differ.
    assert sorted(found[pixel] for pixel in tops) == list(range(1, found.max() + 1))
    number = np.zeros(expected.max() + 1, int)
    number[[expected[pixel] for pixel in tops]] = [found[pixel] for pixel in tops]
    assert np.mean((number[expected] == found)[foreground]) >= (1.0 if depth == 0 else 0.85)


def test_without_a_limit_the_connected_components_remain():
    rng = np.random.default_rng(0)
    foreground = rng.random((60, 50)) < 0.3
    found = divide_hills(rng.random((60, 50)), foreground, np.inf)
    assert same_partition(found, cv2.connectedComponents(foreground.astype(np.uint8), connectivity=8)[1])


@pytest.mark.parametrize("shape", ["level", "ring", "comb"])
def test_a_plateau_of_any_shape_is_one_hill(shape):
    foreground = np.ones((21, 31), bool)
    if shape == "ring":
        foreground[5:15, 5:25] = False
    if shape == "comb":
        foreground[3:, ::2] = False
    assert divide_hills(np.full(foreground.shape, 0.7), foreground, 0.0).max() == 1


@pytest.mark.parametrize("depth, hills", [(0.29, 2), (0.31, 1)])
def test_the_way_down_from_the_lower_top_decides(depth, hills):
    height = np.array([[0.1, 1.0, 0.6, 0.5, 0.6, 0.8, 0.2]])
    assert divide_hills(height, height > 0, depth).max() == hills


def test_a_low_hill_between_two_high_ones_joins_one_of_them_and_does_not_unite_them():
    height = np.array([[1.0, 0.2, 0.3, 0.25, 1.0]])
    assert divide_hills(height, height > 0, 0.3).tolist() == [[1, 1, 2, 2, 2]]


def test_the_border_lies_in_the_valley():
    rows, columns = np.indices((40, 60))
    cones = 20 - np.hypot(rows - 20, columns - 15), 14 - np.hypot(rows - 20, columns - 43)
    truth, height = np.where(cones[0] > cones[1], 1, 2), np.maximum(*cones)
    found = divide_hills(height, np.ones((40, 60), bool), 1.0)
    assert (overlaps(truth, found).max(axis=1) > 0.95).all() and found.max() == 2


def test_what_the_background_holds_does_not_matter():
    rng = np.random.default_rng(0)
    foreground = rng.random((20, 20)) < 0.7
    height = rng.random((20, 20))
    elsewhere = np.where(foreground, height, rng.choice([np.nan, np.inf, -np.inf, 5], (20, 20)))
    assert np.array_equal(divide_hills(height, foreground, 0.2), divide_hills(elsewhere, foreground, 0.2))


@pytest.mark.parametrize("shape", [(0, 5), (4, 4)])
def test_no_foreground(shape):
    found = divide_hills(np.zeros(shape), np.zeros(shape, bool), 0.5)
    assert found.shape == shape and found.dtype == np.int32 and not found.any()

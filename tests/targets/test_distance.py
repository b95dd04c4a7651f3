import cv2
import numpy as np
import pytest

from segmentation.targets import distance
from segmentation.targets.distance import decode, encode
from tests.targets.label_maps import LABEL_MAPS, draw_disks, overlaps


def by_loops(label_map):
    """Relative distance to the edge, from every pixel to every point of the edge of its nucleus."""
    height, width = label_map.shape
    result = np.zeros(label_map.shape)
    for label in np.unique(label_map[label_map > 0]):
        own = label_map == label
        # The middles of pixel edges and the corners of pixels, where they part the nucleus from something else.
        points = []
        for y2 in range(1, 2 * height):
            for x2 in range(1, 2 * width):
                rows = {(y2 - 1) // 2, y2 // 2} & set(range(height))
                columns = {(x2 - 1) // 2, x2 // 2} & set(range(width))
                around = {bool(own[row, column]) for row in rows for column in columns}
                if len(around) == 2:
                    points.append((y2 / 2 - 0.5, x2 / 2 - 0.5))
        pixels = np.argwhere(own)
        if not points:
            result[own] = 1
            continue
        nearest = np.linalg.norm(pixels[:, None] - np.array(points)[None], axis=-1).min(axis=1)
        result[own] = nearest / nearest.max()
    return result


@pytest.mark.parametrize(
    "name", ["touching_disks", "squeezed_disks", "cut_by_the_edge", "single_pixels", "one_row", "all_one_nucleus"]
)
def test_against_loops_over_the_edge(name):
    label_map = LABEL_MAPS[name]()
    encoded = encode(label_map)
    assert np.array_equal(encoded[..., 0], label_map > 0)
    np.testing.assert_allclose(encoded[..., 1], by_loops(label_map), atol=1e-5)


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_every_nucleus_rises_to_one_and_the_background_is_zero(name):
    label_map = LABEL_MAPS[name]()
    encoded = encode(label_map)
    assert encoded.shape == (*label_map.shape, 2) and encoded.dtype == np.float32
    assert not encoded[label_map == 0].any()
    for label in np.unique(label_map[label_map > 0]):
        assert encoded[label_map == label, 1].max() == 1 and encoded[label_map == label, 1].min() > 0


def test_channels_of_a_strip_by_heart():
    label_map = np.zeros((9, 20), np.int32)
    label_map[2:7] = 1  # goes on beyond the picture to the left and the right: no edge there
    assert distance.channels == ("foreground", "distance")
    np.testing.assert_allclose(encode(label_map)[2:7, :, 1], np.repeat([[0.2], [0.6], [1], [0.6], [0.2]], 20, axis=1))


def test_foreground_is_above_the_threshold_alone():
    encoded = encode(draw_disks((20, 20), (10, 10, 6)))
    encoded[..., 0] *= 0.5
    assert not decode(encoded).any()  # 0.5 is not greater than 0.5
    assert np.array_equal(decode(encoded, foreground=0.49) > 0, encoded[..., 0] > 0)


@pytest.mark.parametrize("seed", range(5))
def test_blurred_and_noisy_distances_still_give_each_nucleus(seed):
    rng = np.random.default_rng(seed)
    label_map = draw_disks((160, 200), *[(20 + 24 * i, 20 + 22 * j, 13) for i in range(5) for j in range(7)])
    predicted = encode(label_map)
    noise = cv2.GaussianBlur(rng.normal(size=label_map.shape), (0, 0), 1.0) * 0.15
    predicted[..., 1] = cv2.GaussianBlur(predicted[..., 1], (0, 0), 1.0) + noise
    decoded = decode(predicted)
    assert decoded.max() == 35 and np.array_equal(decoded > 0, label_map > 0)
    assert overlaps(label_map, decoded).max(axis=1).min() > 0.8


def test_a_narrow_neck_divides_and_a_wide_one_does_not():
    for neck, count in ((2, 2), (6, 1)):
        label_map = np.minimum(draw_disks((40, 60), (20, 18, 8), (20, 42, 8)), 1)
        label_map[20 - neck : 20 + neck + 1, 18:42] = 1
        assert decode(encode(label_map)).max() == count

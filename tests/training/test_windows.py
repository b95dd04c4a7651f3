import numpy as np
import pytest

from segmentation.targets.encodings import ENCODINGS
from segmentation.training.windows import MiddleWindows, middle


@pytest.fixture
def of_shapes(in_memory):
    def make(*shapes):
        rng = np.random.default_rng(1)
        return in_memory(
            [
                (rng.integers(256, size=(*shape, 1), dtype=np.uint8), rng.integers(4, size=shape), "a")
                for shape in shapes
            ]
        )

    return make


def test_middle_of_a_larger_array():
    array = np.arange(7 * 10).reshape(7, 10)
    np.testing.assert_array_equal(middle(array, 3, "constant"), array[2:5, 3:6])
    np.testing.assert_array_equal(middle(array, 7, "constant"), array[:, 1:8])


def test_smaller_arrays_are_continued_on_both_sides():
    array = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(middle(array, 5, "symmetric"), [[1, 1, 2, 3, 3]] * 5)
    np.testing.assert_array_equal(middle(array, 5, "constant"), [[0] * 5, [0] * 5, [0, 1, 2, 3, 0], [0] * 5, [0] * 5])


def test_channels_are_left_alone():
    array = np.arange(4 * 4 * 3).reshape(4, 4, 3)
    np.testing.assert_array_equal(middle(array, 2, "symmetric"), array[1:3, 1:3])
    assert middle(array, 8, "symmetric").shape == (8, 8, 3)


@pytest.mark.parametrize("shape", [(40, 40), (57, 33), (20, 64), (9, 11), (1, 1)])
def test_image_and_label_map_stay_aligned(in_memory, shape):
    labels = np.arange(1, shape[0] * shape[1] + 1).reshape(shape)
    pixels = (labels % 251).astype(np.uint8)[..., None]
    images, targets = MiddleWindows(in_memory([(pixels, labels, "a")]), "centre_offsets", 1, 32)[0]
    own = middle(labels, 32, "constant")
    inside = own > 0
    assert inside.sum() == min(shape[0], 32) * min(shape[1], 32)
    np.testing.assert_allclose(images[0, ..., 0][inside] * 255, (own % 251)[inside], atol=1e-3)
    np.testing.assert_array_equal(targets[0], ENCODINGS["centre_offsets"].encode(own))
    np.testing.assert_array_equal(targets[0, ..., 0], inside)


def test_every_image_is_in_exactly_one_batch(of_shapes):
    images = of_shapes((40, 40), (50, 30), (20, 20), (64, 64), (33, 70))
    windows = MiddleWindows(images, "centre_offsets", 2, 32)
    assert len(windows) == 3
    batches = [windows[index] for index in range(3)]
    assert [len(x) for x, _ in batches] == [len(y) for _, y in batches] == [2, 2, 1]
    seen = np.concatenate([x for x, _ in batches])
    expected = [middle(images.pixels(index), 32, "symmetric") for index in range(5)]
    np.testing.assert_allclose(seen * 255, expected, atol=1e-3)
    assert seen.dtype == np.float32 and 0 <= seen.min() and seen.max() <= 1


def test_windows_are_the_same_each_time(of_shapes):
    windows = MiddleWindows(of_shapes((40, 40), (50, 30)), "centre_offsets", 2, 32)
    np.testing.assert_array_equal(windows[0][0], windows[0][0])

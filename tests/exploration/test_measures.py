import numpy as np
import pytest

from segmentation.exploration.measures import local_contrast, touching


def touching_by_hand(labels):
    """Look at the eight neighbours of each pixel."""
    found = np.zeros(labels.max() + 1, bool)
    for row, column in np.argwhere(labels):
        around = labels[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        found[labels[row, column]] |= bool(((around > 0) & (around != labels[row, column])).any())
    return found[1:]


@pytest.mark.parametrize("seed", range(5))
def test_touching_is_what_the_neighbours_of_each_pixel_say(seed):
    labels = np.random.default_rng(seed).choice([0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6], (14, 11))
    assert touching(labels).tolist() == touching_by_hand(labels).tolist()


def test_a_shared_corner_touches_and_a_gap_does_not():
    labels = np.array([[1, 0, 0, 3], [0, 2, 0, 3]])
    assert touching(labels).tolist() == [True, True, False]
    assert touching(np.zeros((3, 3), int)).tolist() == []


def test_contrast_is_the_step_at_the_outline():
    labels = np.zeros((60, 60), int)
    labels[10:20, 10:20], labels[40:50, 40:50] = 1, 2
    brightness = np.full((60, 60), 0.25)
    brightness[10:20, 10:20], brightness[40:50, 40:50] = 0.75, 0.125
    # Far from both nuclei, so that it must not count.
    brightness[:, 28:32] = 1.0
    assert local_contrast(labels, brightness) == pytest.approx([0.5, -0.125])


def test_contrast_without_a_ring_is_to_all_background():
    labels = np.zeros((40, 40), int)
    labels[5:25, 5:25] = 1
    labels[12:18, 12:18] = 2
    brightness = np.where(labels == 2, 1.0, np.where(labels == 1, 0.5, 0.25))
    assert local_contrast(labels, brightness) == pytest.approx([0.25, 0.75])
    assert np.isnan(local_contrast(np.ones((5, 5), int), np.ones((5, 5)))).all()
    assert local_contrast(np.zeros((5, 5), int), np.ones((5, 5))).tolist() == []

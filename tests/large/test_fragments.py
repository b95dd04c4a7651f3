"""What a window shows in its core: areas, boxes, what is cut and what must be divided."""

import numpy as np
import pytest

from segmentation.large.blocks import plan_blocks
from segmentation.large.fragments import find_fragments


@pytest.fixture
def grid():
    return plan_blocks((600, 600), 16, 16, halo=32, largest_tile=176 * 176)


@pytest.fixture
def block(grid):
    return grid.block(1, 1)


def test_pieces_of_a_window(grid, block):
    labels = np.zeros(block.window_shape, np.int32)
    labels[40:50, 40:60] = 7  # in the core
    labels[60:70, 10:50] = 3  # across the edge of the core
    labels[0:40, 80:90] = 5  # reaches the edge of the window
    labels[5:20, 5:20] = 4  # not in the core
    found, fragments = find_fragments(block, grid, labels)
    rows, columns = block.core_in_window
    assert np.unique(found).tolist() == [0, 1, 2, 3]
    for number, label in enumerate((3, 5, 7), 1):
        np.testing.assert_array_equal(found == number, labels == label)
    assert fragments.core_area.tolist() == [10 * (50 - columns.start), (40 - rows.start) * 10, 200]
    assert fragments.window_area.tolist() == [400, 400, 200]
    assert fragments.is_cut.tolist() == [False, True, False]
    top, left = block.rows.window.start, block.columns.window.start
    assert fragments.box[2].tolist() == [top + 40, left + 40, top + 50, left + 60]
    assert fragments.box[0].tolist() == [top + 60, left + columns.start, top + 70, left + 50]


def test_the_edge_of_the_picture_cuts_nothing(grid):
    block = grid.block(0, 0)
    labels = np.zeros(block.window_shape, np.int32)
    labels[:10, :10] = 1
    assert not find_fragments(block, grid, labels)[1].is_cut.any()


def test_parts_of_a_cut_nucleus_that_do_not_touch_are_divided(grid, block):
    labels = np.zeros(block.window_shape, np.int32)
    labels[40:60, 0:60] = 1
    labels[70:90, 40:60] = 1
    labels[65:67, 40:42] = 1  # a crumb
    labels[100:110, 40:50] = labels[100:110, 60:70] = 2  # not cut: as the decoder had it
    found, fragments = find_fragments(block, grid, labels)
    assert sorted(fragments.window_area.tolist()) == [200, 400, 1204]
    assert found[66, 41] == found[50, 50] != found[80, 50]
    assert fragments.is_cut.sum() == 1


def test_no_pieces(grid, block):
    labels, fragments = find_fragments(block, grid, np.zeros(block.window_shape, np.int32))
    assert not labels.any()
    assert fragments.core_area.shape == (0,) and fragments.box.shape == (0, 4)

"""Label maps drawn for the tests, and how to compare one with what was made of it."""

import numpy as np

from data.draw_samples import draw_fluorescence, draw_stained


def draw_disks(shape, *disks):
    """Draw filled disks (row, column, radius), numbered 1.. in their order; the earlier ones lie on top."""
    label_map = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    for number, (row, column, radius) in enumerate(disks, 1):
        label_map[((rows - row) ** 2 + (columns - column) ** 2 <= radius**2) & (label_map == 0)] = number
    return label_map


def overlaps(truth, found):
    """Overlap of each nucleus with each found one.

    Returns
    -------
    (n, m) ndarray of float
        Intersection over union; rows are the labels of `truth`, columns those of `found`, ascending, without 0.
    """
    either = (truth > 0) | (found > 0)
    truth_labels, i = np.unique(truth[either], return_inverse=True)
    found_labels, j = np.unique(found[either], return_inverse=True)
    intersection = np.zeros((len(truth_labels), len(found_labels)))
    np.add.at(intersection, (i, j), 1)
    union = intersection.sum(axis=1, keepdims=True) + intersection.sum(axis=0) - intersection
    return (intersection / union)[np.ix_(truth_labels > 0, found_labels > 0)]


def _touching_disks():
    return draw_disks((64, 64), (30, 20, 10), (30, 41, 10), (48, 31, 9))


def _squeezed_disks():
    return draw_disks((64, 64), (30, 20, 10), (30, 34, 10), (42, 27, 10))


def _a_row_of_bitten_disks():
    return draw_disks((64, 64), *[(12 + 10 * i, 32, 14) for i in range(5)])


def _single_pixels():
    label_map = np.zeros((64, 64), np.int32)
    label_map[[5, 20, 63, 0], [5, 40, 63, 0]] = [1, 2, 3, 4]
    return label_map


def _single_pixels_side_by_side():
    label_map = np.zeros((16, 16), np.int32)
    label_map[5:7, 5:7] = [[1, 2], [3, 4]]
    return label_map


def _single_pixels_beside_a_large_nucleus():
    label_map = draw_disks((64, 64), (30, 30, 12))
    label_map[30, 43], label_map[17, 30], label_map[39, 39] = 2, 3, 4
    return label_map


def _a_pixel_inside_a_nucleus():
    label_map = draw_disks((64, 64), (30, 30, 12))
    label_map[30, 34] = 2
    return label_map


def _nuclei_of_2x2_pixels():
    return np.kron(np.arange(1, 257).reshape(16, 16), np.ones((2, 2), np.int64))


def _cut_by_the_edge():
    label_map = draw_disks((64, 64), (0, 0, 12), (63, 30, 9), (30, 63, 6), (30, -8, 10))
    label_map[50:, 63] = 5
    return label_map


def _crescent():
    rows, columns = np.indices((64, 64)) - 32
    outer, inner = rows**2 + columns**2 <= 20**2, rows**2 + (columns + 8) ** 2 <= 16**2
    return (outer & ~inner).astype(np.int32)


def _ring_around_another():
    return draw_disks((64, 64), (32, 32, 12), (32, 32, 24))


def _ring_with_a_gap_around_another():
    label_map = draw_disks((64, 64), (32, 32, 5), (32, 32, 12), (32, 32, 24))
    label_map[label_map == 2] = 0
    return label_map


def _right_angle_around_a_square():
    label_map = np.zeros((64, 64), np.uint8)
    label_map[10:50, 10:50] = 1
    label_map[14:50, 14:50] = 2
    return label_map


def _one_nucleus_in_two_pieces():
    label_map = np.zeros((64, 64), np.int32)
    label_map[10:12, 10:12] = label_map[50:60, 50:60] = 1
    return label_map


def _numbers_with_gaps():
    return np.array([0, 70_000, 12, 3_000_000])[_touching_disks()]


def _empty():
    return np.zeros((20, 30), np.int32)


def _all_one_nucleus():
    return np.ones((33, 47), np.int64)


def _one_pixel_in_all():
    return np.ones((1, 1), np.int32)


def _one_row():
    return np.array([[1, 1, 1, 2, 2, 2, 0, 3]])


def _no_pixels():
    return np.zeros((0, 5), np.int32)


def _drawn(draw, seed):
    return lambda: draw(np.random.default_rng(seed), (160, 200))[1]


#: Callables by name: each draws one label map.
LABEL_MAPS = {
    draw.__name__.strip("_"): draw
    for draw in (
        _touching_disks,
        _squeezed_disks,
        _a_row_of_bitten_disks,
        _single_pixels,
        _single_pixels_side_by_side,
        _single_pixels_beside_a_large_nucleus,
        _a_pixel_inside_a_nucleus,
        _nuclei_of_2x2_pixels,
        _cut_by_the_edge,
        _crescent,
        _ring_around_another,
        _ring_with_a_gap_around_another,
        _right_angle_around_a_square,
        _one_nucleus_in_two_pieces,
        _numbers_with_gaps,
        _empty,
        _all_one_nucleus,
        _one_pixel_in_all,
        _one_row,
        _no_pixels,
    )
}
LABEL_MAPS |= {f"fluorescence_{seed}": _drawn(draw_fluorescence, seed) for seed in range(6)}
LABEL_MAPS |= {f"stained_{seed}": _drawn(draw_stained, seed) for seed in range(6)}

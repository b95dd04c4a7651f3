"""A watershed on whole arrays: pixels climb to the top of their hill, and hills that are hardly apart become one.

The watersheds of OpenCV and SciPy go by the difference between neighbouring pixels, not by their height, so that a
gentle slope is flooded in any order; OpenCV's leaves lines without a label, too. That of scikit-image floods by height
and takes 10 times as long as this one to import.
"""

import numpy as np


def divide_hills(height: np.ndarray, foreground: np.ndarray, depth: float) -> np.ndarray:
    """Label each foreground pixel by the hill that it lies on.

    Each pixel goes to its highest neighbour (of eight), and on from there to the top of a hill. A hill whose top is
    not more than `depth` above the highest pass to a neighbour with a higher top is a part of that neighbour; so of
    two hills the height that one must climb down to reach the higher one, the *dynamics* of Grimaud (1992), decides.

    Parameters
    ----------
    height : (H, W) ndarray of float
        Finite in the foreground; elsewhere it does not matter.
    foreground : (H, W) ndarray of bool
    depth : float
        In units of `height`.

    Returns
    -------
    (H, W) ndarray of int32
        Label map, 0 = background, 1..n. Every foreground pixel has a label; pixels of one label are connected.
    """
    label_map = np.zeros(foreground.shape, np.int32)
    if not foreground.any():
        return label_map
    # A frame of background, so that each pixel has eight neighbours.
    shape = tuple(length + 2 for length in foreground.shape)
    rows, columns = np.nonzero(foreground)
    place = (rows + 1) * shape[1] + columns + 1
    value = np.full(shape[0] * shape[1], -np.inf, np.float32)
    value[place] = height[rows, columns]
    number = np.zeros(shape[0] * shape[1], np.int32)
    number[place] = np.arange(len(place))
    neighbours = (1, shape[1] - 1, shape[1], shape[1] + 1)

    hill = _climb(value, number, place, neighbours)
    first, second, passes = _find_passes(value, number, place, neighbours, hill)
    label_map[foreground] = np.unique(_unite(value[place], hill, first, second, passes, depth), return_inverse=True)[1]
    label_map[foreground] += 1
    return label_map


def _climb(value, number, place, neighbours):
    """For each foreground pixel the number of the pixel on top of its hill; on a plateau the last pixel is the top."""
    top, top_value = place.copy(), value[place]
    for step in (*(-step for step in neighbours), *neighbours):
        beside = value[place + step]
        # From the first neighbour to the last: of equals the last one wins, and itself only if it comes later.
        higher = (beside > top_value) | ((beside == top_value) & (place + step > top))
        top[higher] = place[higher] + step
        top_value = np.maximum(top_value, beside)
    return follow(number[top])


def _find_passes(value, number, place, neighbours, hill):
    """Pairs of neighbouring pixels on different hills, in both directions: the two hills, and the lower pixel."""
    pairs = []
    for step in neighbours:
        inside = value[place + step] > -np.inf
        here, there = np.flatnonzero(inside), number[place[inside] + step]
        apart = hill[here] != hill[there]
        here, there = here[apart], there[apart]
        pairs.append((hill[here], hill[there], np.minimum(value[place[here]], value[place[there]])))
    first, second, passes = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return np.concatenate([first, second]), np.concatenate([second, first]), np.concatenate([passes, passes])


def _unite(peak, hill, first, second, passes, depth):
    """Number of the top pixel of each pixel's hill, after hills that are hardly apart became one.

    In rounds, each of which looks at the highest pass of every hill alone: a low hill between two others joins one of
    them, and does not make the two one.
    """
    by_rank = np.lexsort((np.arange(len(peak)), peak))
    rank = np.empty_like(by_rank)
    rank[by_rank] = np.arange(len(peak))
    while True:
        highest_pass = np.full(len(peak), -np.inf, np.float32)
        np.maximum.at(highest_pass, first, passes)
        across = passes == highest_pass[first]
        neighbour = np.full(len(peak), -1)
        np.maximum.at(neighbour, first[across], rank[second[across]])
        joins = (neighbour > rank) & (peak - highest_pass <= depth)
        if not joins.any():
            return hill
        leader = np.arange(len(peak))
        leader[joins] = by_rank[neighbour[joins]]
        leader = follow(leader)
        hill, first, second = leader[hill], leader[first], leader[second]
        apart = first != second
        first, second, passes = first[apart], second[apart], passes[apart]


def follow(pointer: np.ndarray) -> np.ndarray:
    """Where one ends that goes from each place to the place that it points at, and on; no cycles but of one place."""
    while True:
        further = pointer[pointer]
        if np.array_equal(further, pointer):
            return pointer
        pointer = further

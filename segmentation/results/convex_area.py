"""Count the pixels in the convex hull of each nucleus."""

import cv2
import numpy as np

from segmentation.results.label_runs import Runs


def convex_area(runs: Runs, box: np.ndarray) -> np.ndarray:
    """Count the pixels whose centre lies in the convex hull of each nucleus; boxes are from `bounding_boxes`.

    The hull is that of the four points half a pixel from the centre of each pixel, along rows and columns, as in
    scikit-image. Coordinates are doubled, so that all numbers are integers.
    """
    count = len(box)
    if not count:
        return np.zeros(0)
    heights = box[:, 2] - box[:, 0]
    # One entry for each row of each nucleus; only its first and last pixel can be corners of the hull.
    row_start = np.concatenate([[0], np.cumsum(heights)])
    row = row_start[runs.nucleus] + runs.y - box[runs.nucleus, 0]
    first, last = np.full(row_start[-1], np.iinfo(np.int32).max, np.int64), np.full(row_start[-1], -1, np.int64)
    np.minimum.at(first, row, runs.first_x)
    np.maximum.at(last, row, runs.last_x)
    row_y = np.arange(row_start[-1]) - np.repeat(row_start[:-1] - box[:, 0], heights)

    # A nucleus in several pieces may have empty rows between them.
    filled = last >= 0
    owner = np.repeat(np.arange(count), heights)[filled]
    first, last, row_y = 2 * first[filled], 2 * last[filled], 2 * row_y[filled]
    x = np.stack([first - 1, first, first, last + 1, last, last], axis=1)
    y = row_y[:, None] + np.array([0, -1, 1, 0, -1, 1])
    corners = np.stack([x, y], axis=-1).astype(np.int32)
    limits = np.searchsorted(owner, np.arange(count + 1))
    hulls = [cv2.convexHull(corners[a:b].reshape(-1, 2))[:, 0] for a, b in zip(limits[:-1], limits[1:], strict=True)]
    left, right = _hull_rows(hulls, row_start, box)
    return np.add.reduceat(right - left + 1, row_start[:-1])


def _hull_rows(hulls: list[np.ndarray], row_start: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last pixel in the hull for each row of each nucleus."""
    here = np.concatenate(hulls).astype(np.int64)
    sizes = np.array([len(hull) for hull in hulls])
    owner, ends = np.repeat(np.arange(len(hulls)), sizes), np.cumsum(sizes)
    following = np.roll(here, -1, axis=0)
    following[ends - 1] = here[ends - sizes]
    # Each edge from its upper to its lower end. Level edges add nothing: their ends belong to other edges as well.
    downwards = (here[:, 1] < following[:, 1])[:, None]
    upper, lower = np.where(downwards, here, following), np.where(downwards, following, here)
    sloped = upper[:, 1] < lower[:, 1]
    upper, lower, owner = upper[sloped], lower[sloped], owner[sloped]

    # The even ordinates, which are rows of pixels, that each edge crosses.
    top, bottom = -(-upper[:, 1] // 2), lower[:, 1] // 2
    crossings = np.maximum(bottom - top + 1, 0)
    edge = np.repeat(np.arange(len(top)), crossings)
    y = np.arange(len(edge)) - np.repeat(np.cumsum(crossings) - crossings - top, crossings)

    # An edge crosses a row at the column x / (2 * drop).
    drop = (lower[:, 1] - upper[:, 1])[edge]
    x = upper[edge, 0] * drop + (2 * y - upper[edge, 1]) * (lower[:, 0] - upper[:, 0])[edge]
    row = row_start[owner[edge]] + y - box[owner[edge], 0]
    left, right = np.full(row_start[-1], np.iinfo(np.int64).max), np.full(row_start[-1], np.iinfo(np.int64).min)
    np.minimum.at(left, row, -(-x // (2 * drop)))
    np.maximum.at(right, row, x // (2 * drop))
    return left, right

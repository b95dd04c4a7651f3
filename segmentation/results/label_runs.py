"""Take a label map as runs: consecutive pixels of a row with the same label.

There are far fewer runs than pixels, and sums over the coordinates of a run are known from its ends.
"""

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """Runs in raster order; (n,) ndarrays of int64. Nuclei are numbered from 0, in the order of their labels."""

    nucleus: np.ndarray
    y: np.ndarray
    first_x: np.ndarray
    last_x: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """In pixels."""
        return self.last_x - self.first_x + 1


def find_runs(padded: np.ndarray) -> tuple[np.ndarray, Runs]:
    """Return the labels in a label map with a frame of background, and their runs in coordinates without the frame."""
    flat = padded.ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = starts[:-1], starts[1:]
    filled = flat[starts] > 0
    starts, ends = starts[filled], ends[filled]
    numbers, nucleus = np.unique(flat[starts], return_inverse=True)
    y, x = np.divmod(starts, padded.shape[1])
    return numbers.astype(np.int64), Runs(nucleus, y - 1, x - 1, x - 2 + ends - starts)


def bounding_boxes(runs: Runs, count: int) -> np.ndarray:
    """Return (n, 4): first row, first column, and the row and the column after the last."""
    box = np.empty((count, 4), np.int64)
    box[:, :2], box[:, 2:] = np.iinfo(np.int64).max, 0
    for axis, (first, last) in enumerate(((runs.y, runs.y), (runs.first_x, runs.last_x))):
        np.minimum.at(box[:, axis], runs.nucleus, first)
        np.maximum.at(box[:, axis + 2], runs.nucleus, last + 1)
    return box

"""Squares of an image in which pixels are bright or dark; blocks that begin at their edges give those of the whole."""

from collections.abc import Iterable

import numpy as np


def squares_below(block: np.ndarray, threshold: float, side: int) -> np.ndarray:
    """Mark, (h, w) bool, the squares of a block, (h, w, C), of which no pixel is above a threshold.

    Examples
    --------
    >>> squares_below(np.array([[[1], [2], [1], [9]]]), 5, side=2)
    array([[ True,  True, False, False]])
    """
    return ~_squares_with(np.any(block > threshold, axis=-1), side)


def squares_darker(block: np.ndarray, threshold: float, side: int) -> np.ndarray:
    """Mark, (h, w) bool, the squares of a block, (h, w, C), of which a pixel is below a threshold."""
    return _squares_with(np.any(block < threshold, axis=-1), side)


def are_thin(blocks: Iterable[np.ndarray], threshold: float, side: int, most: float) -> bool:
    """Tell whether few of the pixels above a threshold, at most this share, lie in squares that they fill by half.

    Examples
    --------
    >>> line = np.zeros((8, 8, 1), np.uint8)
    >>> line[3] = 255
    >>> are_thin([line], 100, 8, 0), are_thin([255 - line], 100, 8, 0)
    (True, False)
    """
    n_bright = n_filled = 0
    for block in blocks:
        counts = np.any(block > threshold, axis=-1).astype(np.int64)
        for axis in (0, 1):
            counts = np.add.reduceat(counts, np.arange(0, counts.shape[axis], side), axis=axis)
        n_bright += int(counts.sum())
        n_filled += int(counts[2 * counts > side**2].sum())
    return n_filled <= most * n_bright


def _squares_with(marked: np.ndarray, side: int) -> np.ndarray:
    """Mark the squares that hold a marked pixel, (h, w) bool."""
    height, width = marked.shape
    for axis in (0, 1):
        starts = np.arange(0, marked.shape[axis], side)
        marked = np.logical_or.reduceat(marked, starts, axis=axis)
    return marked.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]

"""Measures of a label map beyond the columns of ``nuclei.csv``; arrays in, arrays out."""

import numpy as np
from scipy import ndimage
from skimage.segmentation import expand_labels
from skimage.transform import integral_image

# Width in pixels of the surroundings that a nucleus is compared with.
RING = 4


def touching(labels: np.ndarray) -> np.ndarray:
    """Tell which nuclei of an (H, W) label map share a border or a corner with another, (n,) bool by label, from 1."""
    others = np.where(labels > 0, labels, labels.max(initial=0) + 1)
    beside = (ndimage.maximum_filter(labels, 3) > labels) | (ndimage.minimum_filter(others, 3) < labels)
    return np.isin(np.arange(1, labels.max(initial=0) + 1), labels[beside & (labels > 0)])


def local_contrast(labels: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Return the mean of each nucleus minus that of the background within 4 pixels of it, (n,) float64 by label.

    `labels` are (H, W) int, 0 = background and 1..n, every number in use; `brightness` is (H, W) float. A nucleus that
    other nuclei surround is compared with all background; NaN if there is none.
    """
    numbers = np.arange(1, labels.max(initial=0) + 1)
    if not numbers.size:
        return np.zeros(0)
    with np.errstate(invalid="ignore"):
        around = ndimage.mean(brightness, np.where(labels == 0, expand_labels(labels, RING), 0), numbers)
        everywhere = ndimage.mean(brightness, labels, 0)
    return ndimage.mean(brightness, labels, numbers) - np.where(np.isnan(around), everywhere, around)


def enclosed(mask: np.ndarray) -> int:
    """Count the background pixels that a nucleus, (h, w) bool, encloses; its diagonal steps close a hole."""
    return int(np.count_nonzero(ndimage.binary_fill_holes(mask) & ~mask))


def fullest_window(mask: np.ndarray, side: int) -> tuple[slice, slice]:
    """Find the rows and columns of the window of at most `side` pixels a side that holds most of an (H, W) bool mask.

    Of several such windows the first, from the top left.
    """
    height, width = (min(side, length) for length in mask.shape)
    table = np.pad(integral_image(mask, dtype=np.int64), ((1, 0), (1, 0)))
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)

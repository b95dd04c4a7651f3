"""What is measured of a label map beyond the columns of ``nuclei.csv``; arrays in, arrays out."""

from functools import reduce

import cv2
import numpy as np

# Width in pixels of the surroundings that a nucleus is compared with.
RING = 4


def mean_channel(pixels: np.ndarray) -> np.ndarray:
    """Mean of the channels of an (H, W, C) image, (H, W) float32; many times faster than ``pixels.mean(axis=-1)``."""
    channels = np.moveaxis(pixels, -1, 0)
    return reduce(np.add, channels[1:], channels[0].astype(np.float32)) / np.float32(len(channels))


def extreme_channels(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest channel of each pixel of an (H, W, C) image, both (H, W)."""
    channels = np.moveaxis(pixels, -1, 0)
    return reduce(np.minimum, channels), reduce(np.maximum, channels)


def touching(labels: np.ndarray) -> np.ndarray:
    """Tell which nuclei share a border or a corner with another one.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 = background, 1..n.

    Returns
    -------
    (n,) ndarray of bool
        By label, from 1; empty without nuclei.
    """
    touches = np.zeros(int(labels.max(initial=0)) + 1, bool)
    for one, other in (
        (labels[1:], labels[:-1]),
        (labels[:, 1:], labels[:, :-1]),
        (labels[1:, 1:], labels[:-1, :-1]),
        (labels[1:, :-1], labels[:-1, 1:]),
    ):
        border = (one != other) & (one > 0) & (other > 0)
        touches[one[border]] = touches[other[border]] = True
    return touches[1:]


def local_contrast(labels: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Compare each nucleus with the background within 4 pixels of it.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 = background, 1..n, every number in use.
    brightness : (H, W) ndarray of float

    Returns
    -------
    (n,) ndarray of float64
        Mean of the nucleus minus mean of the background around it, in the unit of `brightness`: positive where the
        nucleus is brighter. Where others leave no background around it, minus the mean of all background; NaN if there
        is none.
    """
    count = int(labels.max(initial=0))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING + 1, 2 * RING + 1))
    # Between two nuclei the higher number has the pixel: either will do.
    grown = cv2.dilate(labels.astype(np.float32), disk).astype(np.int64)
    around = np.where(labels == 0, grown, 0)
    background = brightness[labels == 0]
    everywhere = float(background.mean()) if background.size else np.nan
    inside = _means(labels, brightness, count, np.nan)
    return (inside - _means(around, brightness, count, everywhere))[1:]


def touches_edge(labels: np.ndarray) -> np.ndarray:
    """Tell which nuclei the edge of a label map cuts, (n,) bool by label, from 1."""
    cut = np.zeros(int(labels.max(initial=0)) + 1, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        cut[side] = True
    return cut[1:]


def enclosed(mask: np.ndarray) -> int:
    """Count the pixels of background that a nucleus encloses.

    Parameters
    ----------
    mask : (h, w) ndarray of bool
        The nucleus. Background that touches the edge of the array is not enclosed; a diagonal step of the nucleus
        closes a hole.

    Returns
    -------
    int
    """
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, regions = cv2.connectedComponents(outside, connectivity=4)
    # The first pixel is in the padding, and so is all that is outside.
    return int(np.count_nonzero((regions > 0) & (regions != regions[0, 0])))


def fullest_window(mask: np.ndarray, side: int) -> tuple[slice, slice]:
    """Find the window of at most `side` pixels a side that holds most of what is marked.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
    side : int

    Returns
    -------
    rows, columns : slice
        The first such window, from the top left.
    """
    height, width = (min(side, length) for length in mask.shape)
    # Summed by table: exact, and as fast for large windows as for small ones.
    table = np.pad(mask, ((1, 0), (1, 0))).astype(np.int64).cumsum(axis=0).cumsum(axis=1)
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _means(labels: np.ndarray, values: np.ndarray, count: int, default: float) -> np.ndarray:
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sums = np.bincount(labels.ravel(), values.ravel(), count + 1)
    return np.divide(sums, sizes, out=np.full(count + 1, default), where=sizes > 0)

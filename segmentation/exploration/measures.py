"""What is measured of a label map beyond the columns of ``nuclei.csv``; arrays in, arrays out."""

import cv2
import numpy as np

# Width in pixels of the surroundings that a nucleus is compared with.
RING = 4


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


def _means(labels: np.ndarray, values: np.ndarray, count: int, default: float) -> np.ndarray:
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sums = np.bincount(labels.ravel(), values.ravel(), count + 1)
    return np.divide(sums, sizes, out=np.full(count + 1, default), where=sizes > 0)

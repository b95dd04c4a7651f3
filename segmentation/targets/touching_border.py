"""Encoding "touching_border": a second channel marks the border between nuclei that touch.

As the winners of the 2018 Data Science Bowl did (Buslaev, Durnov and Seferbekov, in Caicedo et al. 2019): the border is
wider in larger nuclei, and narrow gaps of background between two nuclei belong to it. Nuclei without their border are
the seeds.

A nucleus in several pieces comes out as several, and so does one with a waist between other nuclei that is not wider
than the border. Touching nuclei of a pixel or two come out as one.
"""

import cv2
import numpy as np

from segmentation.targets.geometry import measure_nuclei, median_diameter_of
from segmentation.targets.watershed import divide_hills

name = "touching_border"
channels = ("foreground", "border")
activations = ("sigmoid", "sigmoid")
vectors = ()
log_lengths = ()

# The border is two and three pixels wide in nuclei of at least these areas, in pixels; as the winners had it.
_WIDER_FROM = (300, 2000)
# Background is border where two nuclei are within this many rows and columns: gaps of up to three pixels.
_GAP = 2
# Seeds connected by pixels with no more border than this are one.
_DEPTH = 0.5
# Height lost with each pixel of distance from a seed, which decides where the border is level.
_PULL = 1e-3


def encode(label_map: np.ndarray) -> np.ndarray:
    """Encode a label map: foreground and border, both 0 or 1.

    The border is 1 to 3 pixels wide in each of two nuclei that touch, but leaves each nucleus in one piece and at least
    its centre pixel; it includes background between nuclei at most 3 pixels apart.
    """
    targets = np.zeros((*label_map.shape, len(channels)), np.float32)
    nuclei = measure_nuclei(label_map)
    if not len(nuclei.rows):
        return targets
    labels, nucleus, area = np.unique(label_map[nuclei.rows, nuclei.columns], return_inverse=True, return_counts=True)
    numbered = np.zeros(label_map.shape, np.float32)  # float32 is what OpenCV takes, and exact up to 16 million
    numbered[nuclei.rows, nuclei.columns] = nucleus + 1
    near = {width: _near_two(numbered, width) for width in range(1, len(_WIDER_FROM) + 2)}
    border = near[_GAP] & (numbered == 0)
    own_width = np.ones(len(labels), int)
    for width in range(2, len(_WIDER_FROM) + 2):
        wide = (area >= _WIDER_FROM[width - 2]) & (_count_seeds(numbered, near[width], len(labels)) == 1)
        own_width[wide] = width
    for width, band in near.items():
        chosen = own_width[nucleus] == width
        rows, columns = nuclei.rows[chosen], nuclei.columns[chosen]
        border[rows, columns] = band[rows, columns]
    border[nuclei.centre_rows, nuclei.centre_columns] &= _count_seeds(numbered, border, len(labels))[nucleus] > 0
    targets[..., 0] = numbered > 0
    targets[..., 1] = border
    return targets


def decode(predicted: np.ndarray, foreground: float = 0.5) -> np.ndarray:
    """Decode channels: foreground without border makes the seeds, and a watershed divides the rest."""
    is_foreground = predicted[..., 0] > foreground
    if not is_foreground.any():
        return np.zeros(is_foreground.shape, np.int32)
    is_seed = is_foreground & (predicted[..., 1] < 1 - _DEPTH)
    to_seed = cv2.distanceTransform((~is_seed).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    height = 1 - predicted[..., 1] - _PULL * to_seed.clip(0, 50)
    return divide_hills(height, is_foreground, _DEPTH)


def median_diameter(predicted: np.ndarray, foreground: float = 0.5) -> float | None:
    """Return the median over the foreground pixels of the diameter of their nucleus, as decoded; None without any."""
    return median_diameter_of(decode(predicted, foreground))


def _near_two(numbered: np.ndarray, width: int) -> np.ndarray:
    """Mark pixels with two nuclei within `width` rows and columns, (H, W) bool."""
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    last = cv2.dilate(numbered, window)
    first = cv2.erode(np.where(numbered > 0, numbered, np.float32(np.inf)), window)
    return (first < last) & (last > 0)


def _count_seeds(numbered: np.ndarray, border: np.ndarray, count: int) -> np.ndarray:
    """Count the connected components of each nucleus without its border, (count,) int."""
    seeds = ((numbered > 0) & ~border).astype(np.uint8)
    number, seed = cv2.connectedComponents(seeds, connectivity=8)
    of_seed = np.zeros(number, int)
    of_seed[seed] = numbered  # all pixels of a seed are of one nucleus: those of others are further than one away
    return np.bincount(of_seed[1:], minlength=count + 1)[1:]

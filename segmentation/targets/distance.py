"""Encoding "distance": distance of each foreground pixel from the edge of its nucleus, divided by the largest one.

Each nucleus is a hill of height 1, as in the deep watershed (Bai and Urtasun 2017, arXiv:1611.08303), which learns 16
steps of the distance; here it is the distance itself, relative to the nucleus, so that small nuclei are as high as
large ones.

Touching nuclei are separated unless they are only one or two pixels wide. A nucleus with a neck less than about half as
wide as the narrower of its two ends comes out as two, and one in several pieces as several.
"""

import cv2
import numpy as np

from segmentation.targets.geometry import median_diameter_of
from segmentation.targets.watershed import divide_hills

name = "distance"
channels = ("foreground", "distance")
activations = ("sigmoid", "sigmoid")
vectors = ()
log_lengths = ()

# Two tops are two nuclei if every way between them leads down by more than this.
_DEPTH = 0.3


def encode(label_map: np.ndarray) -> np.ndarray:
    """Encode a label map: foreground (0 or 1), and distance to the edge of the nucleus over the largest one in it.

    Distances are those of pixel centres, 0 in the background. The border of the image is no edge.
    """
    targets = np.zeros((*label_map.shape, len(channels)), np.float32)
    rows, columns = np.nonzero(label_map)
    if not len(rows):
        return targets
    distance = _distance_to_edge(label_map)[rows, columns]
    _, nucleus = np.unique(label_map[rows, columns], return_inverse=True)
    largest = np.zeros(nucleus.max() + 1, np.float32)
    np.maximum.at(largest, nucleus, distance)
    targets[rows, columns, 0] = 1
    targets[rows, columns, 1] = distance / largest[nucleus]
    return targets


def decode(predicted: np.ndarray, foreground: float = 0.5) -> np.ndarray:
    """Decode channels: the nuclei are the hills of the predicted distance."""
    return divide_hills(predicted[..., 1], predicted[..., 0] > foreground, _DEPTH)


def median_diameter(predicted: np.ndarray, foreground: float = 0.5) -> float | None:
    """Return the median over the foreground pixels of the diameter of their nucleus, as decoded; None without any."""
    return median_diameter_of(decode(predicted, foreground))


def _distance_to_edge(label_map: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest point between different labels; 1 everywhere if there is only one label.

    It is measured on a grid of twice the resolution: the pixels, the edges between two and the corners between four.
    """
    height, width = label_map.shape
    grid = np.ones((2 * height - 1, 2 * width - 1), np.uint8)
    down = label_map[1:] != label_map[:-1]
    across = label_map[:, 1:] != label_map[:, :-1]
    grid[1::2, ::2] = ~down
    grid[::2, 1::2] = ~across
    grid[1::2, 1::2] = ~(down[:, 1:] | down[:, :-1] | across[1:] | across[:-1])
    if grid.all():
        return np.ones(label_map.shape, np.float32)
    return cv2.distanceTransform(grid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[::2, ::2] / 2

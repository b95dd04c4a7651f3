"""Targets "distance": how far each foreground pixel is from the edge of its nucleus, relative to the innermost one.

Each nucleus is a hill whose top has the height 1, as the energy of the deep watershed (Bai and Urtasun 2017,
arXiv:1611.08303) is, but with the distance itself where they learn 16 steps of it, and relative to the nucleus, so that
small nuclei rise as high as large ones.

Nuclei that touch are told apart if both have an inside: those of one or two pixels' width are all edge. A nucleus with
a neck less than about half as wide as the narrower of its two ends comes out as two, and one in pieces as so many.
"""

import cv2
import numpy as np

from segmentation.targets.geometry import median_diameter_of
from segmentation.targets.watershed import divide_hills

name = "distance"
channels = ("foreground", "distance")
activations = ("sigmoid", "sigmoid")
vectors = ()
directions = ()
log_lengths = ()

# Two tops are two nuclei if the way from one to the other leads down by more than this.
_DEPTH = 0.3


def encode(label_map: np.ndarray) -> np.ndarray:
    """Turn a label map into the channels that a network learns.

    Parameters
    ----------
    label_map : (H, W) ndarray of int
        0 = background.

    Returns
    -------
    (H, W, 2) ndarray of float32
        Foreground (0 or 1); distance from the middle of the pixel to the edge of its nucleus, divided by the largest
        one in the nucleus, 0 in the background. The border of the picture is no edge.
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
    """Turn predicted channels back into a label map.

    The nuclei are the hills of the predicted distance, see `segmentation.targets.watershed.divide_hills`.

    Parameters
    ----------
    predicted : (H, W, 2) ndarray of float32
        As `encode` gives them; the foreground is a probability.
    foreground : float
        Foreground is where the probability is greater than this.

    Returns
    -------
    (H, W) ndarray of int32
        Label map, 0 = background, 1..n.
    """
    return divide_hills(predicted[..., 1], predicted[..., 0] > foreground, _DEPTH)


def median_diameter(predicted: np.ndarray, foreground: float = 0.5) -> float | None:
    """Median over the foreground pixels of the diameter of the nucleus that each is decoded to; None without any."""
    return median_diameter_of(decode(predicted, foreground))


def _distance_to_edge(label_map):
    """Distance to the nearest point between pixels of different labels, on a grid of twice the resolution.

    The points of that grid are the pixels, the edges between two pixels and the corners between four. Infinite where
    there is one label alone.
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

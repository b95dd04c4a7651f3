"""Centre, radius and diameter of nuclei, without a Python loop over the nuclei."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Nuclei:
    """The foreground pixels of a label map and, for each, the nucleus it belongs to.

    Attributes
    ----------
    rows, columns : (N,) ndarray of int
        The foreground pixels, in the order of ``np.nonzero``.
    centre_rows, centre_columns : (N,) ndarray of float
        Centre of each pixel's nucleus: its pixel nearest to its centroid, so that it lies within the nucleus whatever
        its shape.
    radius : (N,) ndarray of float
        Radius of the disk with the area of the nucleus, in pixels.
    """

    rows: np.ndarray
    columns: np.ndarray
    centre_rows: np.ndarray
    centre_columns: np.ndarray
    radius: np.ndarray


def measure_nuclei(label_map: np.ndarray) -> Nuclei:
    """Find centre and radius of the nucleus of every foreground pixel of a label map, (H, W) int, 0 = background."""
    rows, columns = np.nonzero(label_map)
    _, nucleus = np.unique(label_map[rows, columns], return_inverse=True)
    area = np.bincount(nucleus)
    squared_distance = (rows - (np.bincount(nucleus, rows) / area)[nucleus]) ** 2
    squared_distance += (columns - (np.bincount(nucleus, columns) / area)[nucleus]) ** 2
    by_nucleus = np.lexsort((squared_distance, nucleus))
    centres = by_nucleus[np.cumsum(area) - area]
    return Nuclei(rows, columns, rows[centres][nucleus], columns[centres][nucleus], np.sqrt(area / np.pi)[nucleus])


def median_diameter_of(label_map: np.ndarray) -> float | None:
    """Return the median over the foreground pixels of the diameter of the disk with the area of the pixel's nucleus.

    `label_map` is (H, W) int, 0 = background, 1..n. In pixels; None without foreground.
    """
    own = label_map[label_map > 0]
    return float(np.median(2 * np.sqrt(np.bincount(own)[own] / np.pi))) if own.size else None

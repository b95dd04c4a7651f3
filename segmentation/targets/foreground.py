"""Encoding "foreground": nuclei or not, as in a binary mask. Nuclei that touch come out as one."""

import cv2
import numpy as np

from segmentation.targets.geometry import median_diameter_of

name = "foreground"
channels = ("foreground",)
activations = ("sigmoid",)
vectors = ()
log_lengths = ()


def encode(label_map: np.ndarray) -> np.ndarray:
    """Turn a label map into the channel that a network learns.

    Parameters
    ----------
    label_map : (H, W) ndarray of int
        0 = background.

    Returns
    -------
    (H, W, 1) ndarray of float32
        0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> encode(np.array([[0, 2, 2], [0, 0, 1]]))[..., 0]
    array([[0., 1., 1.],
           [0., 0., 1.]], dtype=float32)
    """
    return (label_map > 0).astype(np.float32)[..., None]


def decode(predicted: np.ndarray, foreground: float = 0.5) -> np.ndarray:
    """Label the connected components of the foreground; pixels that touch at a corner are connected.

    Parameters
    ----------
    predicted : (H, W, 1) ndarray of float32
        Probability of foreground.
    foreground : float
        Foreground is where the probability is greater than this.

    Returns
    -------
    (H, W) ndarray of int32
        Label map, 0 = background, 1..n.

    Examples
    --------
    >>> import numpy as np
    >>> decode(np.array([[0.9, 0.1, 0.8], [0.7, 0.2, 0.6]])[..., None])
    array([[1, 0, 2],
           [1, 0, 2]], dtype=int32)
    """
    is_foreground = predicted[..., 0] > foreground
    if not is_foreground.any():
        return np.zeros(is_foreground.shape, np.int32)
    return cv2.connectedComponents(is_foreground.astype(np.uint8), connectivity=8)[1]


def median_diameter(predicted: np.ndarray, foreground: float = 0.5) -> float | None:
    """Return the median over the foreground pixels of the diameter of their nucleus, as decoded; None without any."""
    return median_diameter_of(decode(predicted, foreground))

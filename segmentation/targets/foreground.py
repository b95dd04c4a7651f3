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
    """Encode a label map: foreground, 0 or 1."""
    return (label_map > 0).astype(np.float32)[..., None]


def decode(predicted: np.ndarray, foreground: float = 0.5) -> np.ndarray:
    """Decode channels: label the connected components of the foreground, diagonal neighbours included."""
    is_foreground = predicted[..., 0] > foreground
    if not is_foreground.any():
        return np.zeros(is_foreground.shape, np.int32)
    return cv2.connectedComponents(is_foreground.astype(np.uint8), connectivity=8)[1]


def median_diameter(predicted: np.ndarray, foreground: float = 0.5) -> float | None:
    """Return the median over the foreground pixels of the diameter of their nucleus, as decoded; None without any."""
    return median_diameter_of(decode(predicted, foreground))

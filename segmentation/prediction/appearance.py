"""How a picture looks to a network: what tells pictures that are unlike those of the training."""

from dataclasses import dataclass

import cv2
import numpy as np

from segmentation.data.modality import REDUCED_SIDE, kind_of

# Sharpness is that of the middle, of at most so many pixels a side.
_MIDDLE = 256


@dataclass(frozen=True)
class Appearance:
    """Measures of a normalised picture; `stain` and `sharpness` are compared with those of the training images."""

    kind: str  # of `segmentation.data.modality.KINDS`
    stain: tuple[float, float, float]  # mean red and mean blue, less mean green, and mean green, each of the range 0..1
    sharpness: float  # standard deviation of the Laplacian over that of the picture; 0 in a picture of one colour


def look_at(prepared: np.ndarray) -> Appearance:
    """Measure a normalised picture, (H, W, 3) float32 in [0, 1].

    Examples
    --------
    >>> page = np.ones((64, 64, 3), np.float32)
    >>> page[20:40, 20:40] = (0.5, 0.2, 0.6)
    >>> look_at(page).kind
    'stained'
    """
    step = -(-max(prepared.shape[:2]) // REDUCED_SIDE)
    sparse = np.ascontiguousarray(prepared[::step, ::step])
    red, green, blue, _ = cv2.mean(sparse)
    top, left = (max(length - _MIDDLE, 0) // 2 for length in prepared.shape[:2])
    middle = np.ascontiguousarray(prepared[top : top + _MIDDLE, left : left + _MIDDLE, 1])
    contrast = float(middle.std())
    sharpness = float(cv2.Laplacian(middle, cv2.CV_32F).std()) / contrast if contrast > 0 else 0.0
    return Appearance(kind_of(sparse), (red - green, blue - green, green), sharpness)

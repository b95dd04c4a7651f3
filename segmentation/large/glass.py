"""Find tiles of a stained slide that show glass alone, which the network need not see."""

import cv2
import numpy as np

# A nucleus, however small, darkens a patch of so many pixels a side below this share of the range. Of 1,918 nuclei that
# were found in the public slide CMU-1-Small-Region, all have such a patch, and all but five one below 0.6.
_PATCH, _DARKEST = 4, 0.8


def is_glass(tile: np.ndarray) -> bool:
    """Tell whether a normalised tile, (h, w, 3) float32, has no patch as dark as a nucleus in any channel.

    Examples
    --------
    >>> tile = np.full((64, 64, 3), 0.97, np.float32)
    >>> is_glass(tile)
    True
    >>> tile[20:28, 30:38] = (0.6, 0.4, 0.7)
    >>> is_glass(tile)
    False
    """
    size = tuple(max(1, length // _PATCH) for length in reversed(tile.shape[:2]))
    return bool(cv2.resize(tile, size, interpolation=cv2.INTER_AREA).min() > _DARKEST)

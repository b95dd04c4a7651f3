"""Divide the foreground into hills: a watershed whose markers are the tops that rise far enough above their passes."""

import numpy as np


def divide_hills(height: np.ndarray, foreground: np.ndarray, depth: float) -> np.ndarray:
    """Label each foreground pixel by the hill that it lies on.

    Markers are the extended maxima (Soille, Morphological Image Analysis, 2003, section 6.3): tops from which every way
    to a higher one leads down by more than `depth`. From there scikit-image floods the foreground downwards.

    Parameters
    ----------
    height : (H, W) ndarray of float
        Finite in the foreground; ignored elsewhere.
    foreground : (H, W) ndarray of bool
    depth : float
        In units of `height`.

    Returns
    -------
    (H, W) ndarray of int32
        Label map, 0 = background, 1..n. Every foreground pixel has a label; pixels of one label are connected. All 0
        without foreground.

    Examples
    --------
    >>> import numpy as np
    >>> divide_hills(np.array([[1.0, 0.4, 0.9, 0.8, 0.9]]), np.ones((1, 5), bool), depth=0.3)
    array([[1, 1, 2, 2, 2]], dtype=int32)
    """
    # Imported here: scikit-image is not needed to decode what the released model predicts.
    from skimage.measure import label
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    if not foreground.any():
        return np.zeros(foreground.shape, np.int32)
    lowest, highest = height[foreground].min(), height[foreground].max()
    depth = min(depth, highest - lowest + 1)
    # Background, and a frame of it, are lower than all else by more than the depth: each component has a top.
    height = np.pad(np.where(foreground, height, -np.inf), 1, constant_values=-np.inf).clip(lowest - 2 * depth - 1)
    foreground = height >= lowest
    without_low_hills = reconstruction(height - depth, height, footprint=np.ones((3, 3)))
    tops = label(local_maxima(without_low_hills, connectivity=2) & foreground, connectivity=2)
    return watershed(-height, tops, connectivity=2, mask=foreground)[1:-1, 1:-1].astype(np.int32)

"""What is validated after each epoch: the middle of each validation image."""

import keras
import numpy as np

from segmentation.data.cache import CachedImages
from segmentation.targets.encodings import ENCODINGS


class MiddleWindows(keras.utils.Sequence):
    """The middle of each image, at native scale, unaugmented, with its target channels.

    One window an image keeps the validation short, and all of one size run on every backend. Whole images are
    scored at the end of the training. Images smaller than the window are continued by reflection, their label map by
    background.

    Parameters
    ----------
    images : CachedImages
    targets : str
        Name of the target encoding.
    batch_size : int
    size : int
        Height and width of the windows, in pixels.
    """

    def __init__(self, images: CachedImages, targets: str, batch_size: int, size: int):
        super().__init__(workers=1, use_multiprocessing=False)
        self._batch_size = batch_size
        encode = ENCODINGS[targets].encode
        self._images = np.stack([middle(images.pixels(i), size, "symmetric") for i in range(len(images))])
        self._targets = [encode(middle(images.label_map(i), size, "constant")) for i in range(len(images))]

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch `index`: images (B, size, size, 3) float32 in [0, 1], targets (B, size, size, C) float32."""
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return self._images[batch].astype(np.float32) / 255, np.stack(self._targets[batch])


def middle(array: np.ndarray, size: int, padding: str) -> np.ndarray:
    """Cut the middle out of an (H, W, ...) array, (size, size, ...), padded where the array is smaller."""
    missing = [max(size - length, 0) for length in array.shape[:2]]
    widths = [(short // 2, short - short // 2) for short in missing] + [(0, 0)] * (array.ndim - 2)
    array = np.pad(array, widths, mode=padding)
    top, left = ((length - size) // 2 for length in array.shape[:2])
    return array[top : top + size, left : left + size]

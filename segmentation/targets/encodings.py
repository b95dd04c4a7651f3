"""The target encodings by name: from a label map to channels that a network can learn, and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from segmentation.targets import centre_offsets, distance, foreground, touching_border
from segmentation.targets.connected import make_connected
from segmentation.targets.symmetries import Symmetry


@dataclass(frozen=True)
class Encoding:
    """How a label map becomes channels, and channels a label map.

    Attributes
    ----------
    channels : tuple of str
        What each channel means; the first is the foreground.
    activations : tuple of str
        The Keras activation of each channel.
    encode : callable
        Label map (H, W) int, 0 = background -> (H, W, C) float32.
    vectors : tuple of (int, int)
        Pairs of channels that hold the row and column components of a vector in pixels.
    log_lengths : tuple of int
        Channels that hold the binary logarithm of a length in pixels.
    median_diameter : callable
        Predicted channels (H, W, C) and the threshold of the foreground -> diameter of the nuclei in pixels, such that
        half of the foreground belongs to nuclei at least as large; None without foreground.
    agreement : callable
        ``agreement(at_pixels, rows, columns, mean)``: of the N pixels of found nuclei the predicted channels (C, N)
        float64, the place, and a function from values (N,) to their means by nucleus (n,) -> by name (n,), how far the
        pixels of a nucleus agree with each other. Empty where only the foreground tells.

    Examples
    --------
    >>> import numpy as np
    >>> encoding = ENCODINGS["centre_offsets"]
    >>> label_map = np.zeros((16, 16), int)
    >>> label_map[2:9, 3:8], label_map[2:9, 8:14] = 1, 2  # two nuclei that touch
    >>> channels = encoding.encode(label_map)
    >>> channels.shape
    (16, 16, 4)
    >>> np.array_equal(encoding.decode(channels), label_map)
    True
    """

    name: str
    channels: tuple[str, ...]
    activations: tuple[str, ...]
    encode: Callable[[np.ndarray], np.ndarray]
    vectors: tuple[tuple[int, int], ...]
    log_lengths: tuple[int, ...]
    median_diameter: Callable[[np.ndarray, float], float | None]
    agreement: Callable[..., dict[str, np.ndarray]]
    _decode: Callable[..., np.ndarray]

    def decode(
        self, predicted: np.ndarray, thresholds: Mapping[str, float] | None = None, min_area: int = 0
    ) -> np.ndarray:
        """Turn predicted channels into a label map.

        ``decode(encode(label_map))`` is the label map again, up to the numbering, except for nuclei that the encoding
        cannot separate.

        Parameters
        ----------
        predicted : (H, W, C) ndarray of float32
            Output of the network.
        thresholds : mapping of str to float, optional
            By name; all encodings have "foreground", a probability, 0.5 by default.
        min_area : int
            Drop nuclei with fewer pixels.

        Returns
        -------
        (H, W) ndarray of int32
            0 = background, 1..n = nuclei.

        Raises
        ------
        ValueError
            If `predicted` does not have the channels of this encoding.
        """
        return drop_small(self._label(predicted, thresholds), min_area)

    def find_nuclei(
        self,
        predicted: np.ndarray,
        thresholds: Mapping[str, float] | None = None,
        min_area: int = 0,
        cut: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decode as `decode` does, to nuclei in one piece and without holes.

        `cut`, (H, W) bool, marks pixels at whose side the image continues, see
        `segmentation.targets.connected.make_connected`.
        """
        return drop_small(make_connected(self._label(predicted, thresholds), cut), min_area)

    def _label(self, predicted: np.ndarray, thresholds: Mapping[str, float] | None) -> np.ndarray:
        if predicted.ndim != 3 or predicted.shape[-1] != len(self.channels):
            raise ValueError(
                f"predicted must have shape (H, W, {len(self.channels)}) for the targets {self.name!r}, "
                f"got {predicted.shape}"
            )
        return self._decode(predicted, **(thresholds or {}))

    def resize(self, channels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Resize (H, W, C) float32 channels to `shape`, a height and width; lengths in pixels are scaled along.

        They are averaged over the area of each pixel where the image shrinks, else interpolated linearly.
        """
        height, width = channels.shape[:2]
        shrinks = shape[0] * shape[1] < height * width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(channels, (shape[1], shape[0]), interpolation=interpolation)
        resized = resized.reshape(*shape, channels.shape[-1])
        down, across = shape[0] / height, shape[1] / width
        for row, column in self.vectors:
            resized[..., row] *= down
            resized[..., column] *= across
        for channel in self.log_lengths:
            resized[..., channel] += np.log2(down * across) / 2
        return resized

    def turn(self, channels: np.ndarray, symmetry: Symmetry) -> np.ndarray:
        """Flip or turn channels: pixels move, and vectors turn with them.

        ``turn(encode(label_map), symmetry)`` equals ``encode`` of the turned label map, except for nuclei with several
        pixels equally near to their centroid, of which `encode` takes the first. `channels` are (..., H, W, C) float32;
        rows and columns change place where the symmetry says so.
        """
        moved = symmetry(channels)
        turned = moved.copy()
        for row, column in self.vectors:
            turned[..., row], turned[..., column] = symmetry.turn_vectors(moved[..., row], moved[..., column])
        return turned


def drop_small(label_map: np.ndarray, min_area: int) -> np.ndarray:
    """Drop nuclei with fewer than `min_area` pixels, and number the others 1..n in their order."""
    area = np.bincount(label_map.ravel(), minlength=1)
    kept = area >= max(min_area, 1)
    if kept[1:].all():
        return label_map.astype(np.int32, copy=False)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[label_map]


#: The choices of ``train.py --targets``.
ENCODINGS: dict[str, Encoding] = {
    module.name: Encoding(
        name=module.name,
        channels=module.channels,
        activations=module.activations,
        encode=module.encode,
        vectors=module.vectors,
        log_lengths=module.log_lengths,
        median_diameter=module.median_diameter,
        agreement=getattr(module, "agreement", lambda *pixels: {}),
        _decode=module.decode,
    )
    for module in (centre_offsets, touching_border, distance, foreground)
}

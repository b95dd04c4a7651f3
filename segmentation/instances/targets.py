"""The target encodings by name: how a label map becomes channels that a network can learn, and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from segmentation.instances import centre_offsets


@dataclass(frozen=True)
class Targets:
    """A way to tell a network about nuclei.

    Attributes
    ----------
    name : str
    channels : tuple of str
        What each channel means; the first is the foreground.
    activations : tuple of str
        The Keras activation that gives each channel its range.
    encode : callable
        Label map (H, W) int, 0 = background -> (H, W, C) float32.
    """

    name: str
    channels: tuple[str, ...]
    activations: tuple[str, ...]
    encode: Callable[[np.ndarray], np.ndarray]
    _decode: Callable[..., np.ndarray]

    def decode(
        self, predicted: np.ndarray, thresholds: Mapping[str, float] | None = None, min_area: int = 0
    ) -> np.ndarray:
        """Turn predicted channels into a label map.

        ``decode(encode(label_map))`` is the label map again, up to the numbering, except where the encoding says that
        nuclei lie too close for it.

        Parameters
        ----------
        predicted : (H, W, C) ndarray of float32
            As the network gives them.
        thresholds : mapping of str to float, optional
            Thresholds that the encoding knows by name; all know "foreground", a probability, 0.5 by default.
        min_area : int
            Smaller nuclei are dropped, in pixels.

        Returns
        -------
        (H, W) ndarray of int32
            0 = background, 1..n = nuclei.

        Raises
        ------
        ValueError
            If `predicted` has not the channels of this encoding.
        """
        if predicted.ndim != 3 or predicted.shape[-1] != len(self.channels):
            raise ValueError(
                f"predicted must have shape (H, W, {len(self.channels)}) for the targets {self.name!r}, "
                f"got {predicted.shape}"
            )
        return drop_small(self._decode(predicted, **(thresholds or {})), min_area)


def drop_small(label_map: np.ndarray, min_area: int) -> np.ndarray:
    """Drop the nuclei of less than `min_area` pixels, and number the others 1..n in their order."""
    area = np.bincount(label_map.ravel(), minlength=1)
    kept = area >= max(min_area, 1)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[label_map]


#: What ``train.py --targets`` offers.
TARGETS: dict[str, Targets] = {
    module.name: Targets(module.name, module.channels, module.activations, module.encode, module.decode)
    for module in (centre_offsets,)
}

"""Test-time augmentation: what the network says of a picture, averaged over the eight symmetries of the square."""

import numpy as np

from segmentation.prediction.engines import Engine
from segmentation.targets.encodings import Encoding
from segmentation.targets.symmetries import SYMMETRIES


class SymmetricEngine:
    """An engine whose output does not depend on how the microscope was turned; it takes eight times as long.

    Each batch of tiles is flipped and turned in all eight ways, the channels that come out are turned back, and their
    mean is the result. Tiles whose sides are multiples of the network's divisor stay so, and so does its pooling grid.

    Parameters
    ----------
    engine : Engine
    targets : Encoding
        Know which of the channels turn with the picture.
    """

    def __init__(self, engine: Engine, targets: Encoding):
        self.name, self.precision, self.version = engine.name, engine.precision, engine.version
        self.streams, self.batch_pixels = engine.streams, engine.batch_pixels
        self._engine, self._targets = engine, targets

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        total = np.zeros((*tiles.shape[:3], len(self._targets.channels)), np.float32)
        for symmetry in SYMMETRIES:
            channels = self._engine(np.ascontiguousarray(symmetry(tiles)))
            total += self._targets.turn(channels, symmetry.inverse)
        return total / len(SYMMETRIES)

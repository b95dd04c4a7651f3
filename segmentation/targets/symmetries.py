"""The eight symmetries of the square: flips and turns that keep pixels on their grid."""

from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True)
class Symmetry:
    """Exchange rows and columns if `transpose`, then reverse the rows and the columns if asked to."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool

    @property
    def inverse(self) -> "Symmetry":
        """The symmetry that undoes this one."""
        if self.transpose:
            return Symmetry(True, self.flip_columns, self.flip_rows)
        return self

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Move the pixels of an (..., H, W, C) array; return a view, (..., W, H, C) if it transposes."""
        if self.transpose:
            picture = picture.swapaxes(-3, -2)
        rows, columns = (slice(None, None, -1 if flip else 1) for flip in (self.flip_rows, self.flip_columns))
        return picture[..., rows, columns, :]

    def turn_vectors(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn a vector, given by its components along the rows and along the columns."""
        if self.transpose:
            rows, columns = columns, rows
        return -rows if self.flip_rows else rows, -columns if self.flip_columns else columns


#: The first one is the identity.
SYMMETRIES = tuple(Symmetry(*choice) for choice in product((False, True), repeat=3))

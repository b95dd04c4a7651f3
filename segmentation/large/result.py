"""The label map of a picture that was done by blocks, and what is known of it, to be read part by part."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segmentation.data.large import LargeImage
from segmentation.large.blocks import Grid
from segmentation.large.fragments import Fragments
from segmentation.large.stitching import Stitches
from segmentation.large.store import BlockStore

# Of final labels that are put together at once: rows of the picture.
BAND = 512


@dataclass(frozen=True, eq=False)
class LargePrediction:
    """All that is known about a picture that was predicted by blocks.

    Attributes
    ----------
    name : str
        Of its results.
    image : LargeImage
    grid : Grid
    fragments : dict of (int, int) to Fragments
        Of each block, by its place in the grid.
    stitches : Stitches
    diameter : float or None
        Of the nuclei, in pixels, if it was looked for.
    scale : float
        Pixels that the network saw for each pixel of the picture.
    """

    name: str
    image: LargeImage
    grid: Grid
    fragments: dict[tuple[int, int], Fragments]
    stitches: Stitches
    diameter: float | None
    scale: float
    _store: BlockStore

    @property
    def nuclei(self) -> int:
        """How many there are."""
        return self.stitches.count

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """The label map of a part of the picture, (h, w) uint32: 0 = background, 1..n."""
        labels = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.uint32)
        for block in self.grid:
            here, there = _common(block.rows.core, rows), _common(block.columns.core, columns)
            if here is None or there is None:
                continue
            core = self._store.read_core(block, here)
            first = block.columns.core.start
            numbers = self.stitches.numbers(block, len(self.fragments[block.row, block.column].is_cut))
            labels[
                here.start - rows.start : here.stop - rows.start,
                there.start - columns.start : there.stop - columns.start,
            ] = numbers[core[:, there.start - first : there.stop - first]]
        return labels

    def bands(self, height: int = BAND) -> Iterator[np.ndarray]:
        """The label map from top to bottom, (height, W) uint32 each, the last perhaps lower."""
        whole, width = self.grid.shape
        for first in range(0, whole, height):
            yield self.read(slice(first, min(first + height, whole)), slice(0, width))


def _common(one: slice, other: slice) -> slice | None:
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return slice(start, stop) if start < stop else None

"""The label map of a picture that was predicted by blocks, read part by part."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segmentation.data.large import LargeImage
from segmentation.large.blocks import Grid
from segmentation.large.fragments import Fragments
from segmentation.large.stitching import Stitches
from segmentation.large.store import BlockStore
from segmentation.prediction.trust import Verdict


@dataclass(frozen=True, eq=False)
class LargePrediction:
    """The prediction of a picture by blocks."""

    name: str  # of its results
    image: LargeImage
    grid: Grid
    fragments: dict[tuple[int, int], Fragments]  # by the place of the block
    stitches: Stitches
    diameter: float | None  # of the nuclei, in pixels of the picture; None without a search or without nuclei
    scale: float  # network pixels for each pixel of the picture
    _store: BlockStore
    scores: np.ndarray | None = None  # (n,) float64, and the verdict, as in `segmentation.prediction.trust.Found`
    verdict: Verdict | None = None

    @property
    def nuclei(self) -> int:
        """The number of nuclei."""
        return self.stitches.count

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the label map of a part of the picture, (h, w) uint32: 0 = background, 1..n."""
        labels = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.uint32)
        for block in self.grid:
            here, there = _common(block.rows.core, rows), _common(block.columns.core, columns)
            if here is None or there is None:
                continue
            core = self._store.read_core(block, here)
            first = block.columns.core.start
            numbers = self.stitches.numbers(block, len(self.fragments[block.place].is_cut))
            labels[
                here.start - rows.start : here.stop - rows.start,
                there.start - columns.start : there.stop - columns.start,
            ] = numbers[core[:, there.start - first : there.stop - first]]
        return labels

    def bands(self, height: int = 512) -> Iterator[np.ndarray]:
        """Yield the label map from top to bottom, (height, W) uint32 each; the last may be lower."""
        whole, width = self.grid.shape
        for first in range(0, whole, height):
            yield self.read(slice(first, min(first + height, whole)), slice(0, width))


def _common(one: slice, other: slice) -> slice | None:
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return slice(start, stop) if start < stop else None

"""A picture that does not fit in memory, cut into blocks: what is predicted, decoded and kept of each.

The network runs on tiles, whose valid regions cover the picture once (see `segmentation.prediction.planning`). Nuclei
are told apart in *windows*: a window is the valid region of a tile and the last two halos of the valid regions above
and to the left of it. The *core* of a window lies one halo inside it. The cores cover the picture once, too, and the
label of each pixel comes from the window in whose core it lies::

      columns ->     k - 2h      k - h        k                                        k' - h       k'
                       |           |          |                                          |          |
      tile i - 1   ....|...........|..........]   the valid region of tile i - 1 ends at k          .
      tile i           .           .          [..........................................|..........]
      window i         [---------------------------------------------------------------- | ---------]
      core i           .           [=====================================================]          .
      window i + 1     .           .          .                          [-------------- | --------- ...
      core i + 1       .           .          .                               .          [========== ...

So each window shows a halo of h pixels around its core, and two neighbouring windows share a strip of two halos, half
of it in each core. How the labels of two windows are matched is described in `stitching`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product, starmap

from segmentation.prediction.planning import LARGEST_BLOCK, TileSlice, plan_tiles

# In network pixels: several times as wide as a nucleus of the size that networks are trained on.
HALO = 128
# In pixels of the picture, whatever its scale: what is decoded at once must fit in memory.
LARGEST_HALO = 256
# So many blocks are at the network at once, if there are cores for them.
BLOCKS_AT_ONCE = 2


@dataclass(frozen=True)
class Interval:
    """A block along one axis, in pixels of the picture."""

    tile: TileSlice
    core: slice
    window: slice


@dataclass(frozen=True)
class Block:
    """One block of the grid; `row` and `column` count from 0."""

    row: int
    column: int
    rows: Interval
    columns: Interval

    @property
    def place(self) -> tuple[int, int]:
        """Row and column in the grid."""
        return self.row, self.column

    @property
    def core_in_window(self) -> tuple[slice, slice]:
        """The core, in pixels of the window."""
        return _relative(self.rows), _relative(self.columns)

    @property
    def window_shape(self) -> tuple[int, int]:
        """Height and width of the window."""
        rows, columns = self.rows.window, self.columns.window
        return rows.stop - rows.start, columns.stop - columns.start


@dataclass(frozen=True)
class Grid:
    """All blocks of a picture: every pair of a row and a column of the grid."""

    shape: tuple[int, int]  # of the picture
    halo: int  # in pixels of the picture
    rows: list[Interval]
    columns: list[Interval]

    def __iter__(self) -> Iterator[Block]:
        return starmap(self.block, product(range(len(self.rows)), range(len(self.columns))))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def block(self, row: int, column: int) -> Block:
        """Return the block at a place of the grid."""
        return Block(row, column, self.rows[row], self.columns[column])


def plan_blocks(
    shape: tuple[int, int],
    divisor: int,
    margin: int,
    scale: Fraction = Fraction(1),
    halo: int = HALO,
    largest_tile: int = LARGEST_BLOCK,
) -> Grid:
    """Cut a picture into blocks with a halo in network pixels; the rest as in `plan_tiles`.

    Tiles are larger than `largest_tile` where two halos do not fit.
    """
    if scale != 1:
        halo = min(math.ceil(halo / scale), LARGEST_HALO)
    tiles = plan_tiles(shape, divisor, margin, largest_tile, scale=scale, shortest_valid=2 * halo)
    rows, columns = ([_interval(each, axis[-1].valid_stop, halo) for each in axis] for axis in tiles)
    return Grid(shape, halo, rows, columns)


def _interval(tile: TileSlice, length: int, halo: int) -> Interval:
    first, last = tile.valid_start, tile.valid_stop
    core = slice(first - halo if first else 0, last - halo if last < length else length)
    return Interval(tile, core, slice(first - 2 * halo if first else 0, last))


def _relative(axis: Interval) -> slice:
    return slice(axis.core.start - axis.window.start, axis.core.stop - axis.window.start)

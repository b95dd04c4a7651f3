"""Pictures that do not fit in memory, cut into blocks: what the network sees, what is decoded, what is kept.

The network runs on *tiles*, of which a margin is thrown away, as in `tiling`. What is left of a tile, its *yield*,
covers the picture once: nothing is computed twice but the margins. Nuclei are told apart in *windows*: a window is the
yield of a tile and, of the yields above it and to its left, the last two halos. Its *core* lies one halo inside of it.
The cores cover the picture once, too, and each pixel's label comes from the window in whose core it lies::

      columns ->     k - 2h      k - h        k                                        k' - h       k'
                       |           |          |                                          |          |
      tile i - 1   ....|...........|..........]   the yield of tile i - 1 ends at k      .          .
      tile i           .           .          [..........................................|..........]
      window i         [---------------------------------------------------------------- | ---------]
      core i           .           [=====================================================]          .
      window i + 1     .           .          .                          [-------------- | --------- ...
      core i + 1       .           .          .                               .          [========== ...

So around each core its window sees a halo of h pixels, and two neighbouring windows share a strip of two halos, half of
it in each core. How the labels of two windows are matched stands in `stitching`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from segmentation.prediction.tiling import TileSlice, padded_shape

# In pixels to the network: several times as wide as a nucleus of the size that networks are trained on.
HALO = 128
# In pixels of the picture, whatever its scale: what is decoded at once must fit in memory.
LARGEST_HALO = 256
# Resizing looks at neighbouring pixels, on the way to the network and on the way back; in pixels to the network.
_REACH_OF_RESIZING = 4
# Activations take about 240 bytes a pixel at 32 base filters: 0.5 GB. Smaller tiles lose more in their margins.
BLOCK_TILE = 1408 * 1408
# That many tiles are at the network at once, if there are cores for them.
BLOCKS_AT_ONCE = 2


@dataclass(frozen=True)
class Interval:
    """A block along one axis, in pixels of the picture.

    Attributes
    ----------
    tile : TileSlice
        What the network sees, up to the padded length, and the yield that is kept of it, up to the true length.
    core, window : slice
    """

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
    def core_in_window(self) -> tuple[slice, slice]:
        """Where in the window the core is."""
        return tuple(
            slice(axis.core.start - axis.window.start, axis.core.stop - axis.window.start)
            for axis in (self.rows, self.columns)
        )

    @property
    def window_shape(self) -> tuple[int, int]:
        """Height and width of the window."""
        return tuple(axis.window.stop - axis.window.start for axis in (self.rows, self.columns))


@dataclass(frozen=True)
class Grid:
    """All blocks of a picture.

    Attributes
    ----------
    shape : (int, int)
        Of the picture.
    halo : int
    rows, columns : list of Interval
        Every pair of them is a block.
    """

    shape: tuple[int, int]
    halo: int
    rows: list[Interval]
    columns: list[Interval]

    def __iter__(self) -> Iterator[Block]:
        for row in range(len(self.rows)):
            for column in range(len(self.columns)):
                yield self.block(row, column)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def block(self, row: int, column: int) -> Block:
        """The block at a place of the grid."""
        return Block(row, column, self.rows[row], self.columns[column])


def plan_blocks(
    shape: tuple[int, int],
    divisor: int,
    margin: int,
    scale: Fraction = Fraction(1),
    halo: int = HALO,
    largest_tile: int = BLOCK_TILE,
) -> Grid:
    """Cut a picture into blocks.

    Parameters
    ----------
    shape : (int, int)
        Height and width in pixels.
    divisor, margin : int
        Of the network, as in `segmentation.prediction.tiling.predict_channels`.
    scale : Fraction
        Pixels to the network for each pixel of the picture: tiles begin where both ways are exact.
    halo : int
        In pixels to the network.
    largest_tile : int
        Largest area to give to the network at once, in pixels, unless that is too small for the margins and two halos.

    Returns
    -------
    Grid
    """
    least = _least_tile(divisor, margin, halo)
    if scale != 1:
        divisor = scale.denominator * (divisor // math.gcd(scale.numerator, divisor))
        margin = math.ceil((margin + _REACH_OF_RESIZING) / scale)
        halo = min(math.ceil(halo / scale), LARGEST_HALO)
        least = _least_tile(divisor, margin, halo)
        # Of a picture that is shrunk for the network, it is the picture's own pixels that take memory.
        largest_tile = int(largest_tile * min(1 / scale**2, 2))
    margin = math.ceil(margin / divisor) * divisor
    tiles = _count_tiles(padded_shape(*shape, divisor), divisor, margin, least, largest_tile)
    axes = [_intervals(length, count, divisor, margin, halo) for length, count in zip(shape, tiles, strict=True)]
    return Grid(shape, halo, *axes)


def _least_tile(divisor: int, margin: int, halo: int) -> int:
    """Side of a tile that yields two halos wherever it begins."""
    return math.ceil((2 * halo + 2 * math.ceil(margin / divisor) * divisor) / divisor + 3) * divisor


def _count_tiles(padded: tuple[int, int], divisor: int, margin: int, least: int, largest_tile: int) -> tuple[int, int]:
    """How many tiles down and across let the network compute as few pixels as possible.

    Where tiles of the largest area would be too narrow for two halos, they are larger, but no larger than they must.
    """
    best = None
    for rows in range(1, padded[0] // divisor + 1):
        height = _tile_length(padded[0], rows, divisor, margin)
        if rows > 1 and height < least:
            break
        longest = max(largest_tile // height // divisor * divisor, least)
        columns = 1 if padded[1] <= longest else math.ceil((padded[1] - 2 * margin) / (longest - 2 * margin))
        while columns > 1 and _tile_length(padded[1], columns, divisor, margin) < least:
            columns -= 1
        width = _tile_length(padded[1], columns, divisor, margin)
        cost = max(height * width - largest_tile, 0), rows * height * columns * width
        if best is None or cost < best[0]:
            best = cost, (rows, columns)
    return best[1]


def _tile_length(length: int, tiles: int, divisor: int, margin: int) -> int:
    """Length of each of some tiles that together cover an axis; neighbours share two margins."""
    return math.ceil((length + 2 * margin * (tiles - 1)) / tiles / divisor) * divisor


def _intervals(length: int, tiles: int, divisor: int, margin: int, halo: int) -> list[Interval]:
    padded = math.ceil(length / divisor) * divisor
    tile = _tile_length(padded, tiles, divisor, margin)
    # Evenly, so that no yield is much smaller than the others.
    starts = [index * (padded - tile) // max(tiles - 1, 1) // divisor * divisor for index in range(tiles)]
    bounds = [0, *(start + margin for start in starts[1:]), length]
    return [
        Interval(
            TileSlice(start, start + tile, first, last),
            slice(first - halo if first else 0, last - halo if last < length else length),
            slice(first - 2 * halo if first else 0, last),
        )
        for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True)
    ]

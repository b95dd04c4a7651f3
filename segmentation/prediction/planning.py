"""Plan tiles: the one place that decides how a picture is cut, be it small, rescaled, or larger than memory.

The network pools on a grid of `divisor` pixels, so every tile starts on that grid. Near the edge of a tile the network
sees zeros instead of the picture, so a margin as wide as its receptive field is discarded there. What is left is the
*valid region* of the tile: the network gives the same there for the tile and for the whole picture. The valid regions
cover the picture once::

      tile 1   [------------------|-margin-]
      tile 2             [-margin-|-------------|-margin-]
      tile 3                           [-margin-|------------------]
      valid    [        1         |      2      |        3         ]
"""

import math
from dataclasses import dataclass
from fractions import Fraction

# The largest tiles, in network pixels: those of the picture as it is resized for the network. Activations take about
# 240 bytes a network pixel at 32 base filters: 0.4 GB for a
# tile of a picture in memory, of which several are at the network at once, and 0.5 GB for a block of a large picture,
# of which there are fewer, and which loses more in its margins and halos.
LARGEST_TILE = 1536 * 1024
LARGEST_BLOCK = 1408 * 1408

# Resizing looks at neighbours, on the way to the network and on the way back: so many network pixels in all.
_REACH_OF_RESIZING = 4


@dataclass(frozen=True)
class TileSlice:
    """A tile along one axis, in pixels of the picture: where it starts and stops, and its valid region."""

    start: int
    stop: int
    valid_start: int
    valid_stop: int

    @property
    def tile(self) -> slice:
        """The tile in the picture; it may reach into the padding."""
        return slice(self.start, self.stop)

    @property
    def valid(self) -> slice:
        """The valid region in the picture."""
        return slice(self.valid_start, self.valid_stop)

    @property
    def valid_in_tile(self) -> slice:
        """The valid region in the tile."""
        return slice(self.valid_start - self.start, self.valid_stop - self.start)


def plan_tiles(
    shape: tuple[int, int],
    divisor: int,
    margin: int,
    largest_tile: int = LARGEST_TILE,
    *,
    scale: Fraction = Fraction(1),
    shortest_valid: int | None = None,
) -> tuple[list[TileSlice], list[TileSlice]]:
    """Divide a picture into equal tiles such that the network computes as few pixels as possible.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the picture in pixels.
    divisor : int
        2 ** depth of the network.
    margin : int
        Receptive-field radius of the network, in network pixels.
    largest_tile : int
        Largest area of a tile, in network pixels.
    scale : Fraction
        Network pixels for each pixel of the picture. Tiles start where the picture can be resized exactly.
    shortest_valid : int, optional
        Least height and width of a valid region, in pixels of the picture. Tiles are then spread evenly, and larger
        than `largest_tile` where that is too small. Without it, all tiles but the last keep as much as they can.

    Returns
    -------
    rows, columns : list of TileSlice
        Every pair of them is a tile. The last of each stops at the next multiple of the divisor after the picture.

    Raises
    ------
    ValueError
        If tiles of that area have no valid region, and no `shortest_valid` allows larger ones.
    """
    if scale != 1:
        divisor = scale.denominator * (divisor // math.gcd(scale.numerator, divisor))
        margin = math.ceil((margin + _REACH_OF_RESIZING) / scale)
        # Of a picture that is shrunk for the network, it is the picture's own pixels that take memory.
        largest_tile = int(largest_tile * min(1 / scale**2, Fraction(2)))
    margin = round_up(margin, divisor)
    # Spread evenly, tiles start up to a divisor before their exact places.
    least = 2 * margin + (divisor if shortest_valid is None else round_up(shortest_valid, divisor) + 3 * divisor)
    height, width = round_up(shape[0], divisor), round_up(shape[1], divisor)
    plans: list[tuple[int, ...]] = []
    for rows in range(1, height // divisor + 1):
        tile_height = _tile_length(height, rows, divisor, margin)
        if rows > 1 and tile_height < least:
            break
        widest = max(largest_tile // tile_height // divisor * divisor, least)
        columns = 1 if width <= widest else math.ceil((width - 2 * margin) / (widest - 2 * margin))
        while columns > 1 and _tile_length(width, columns, divisor, margin) < least:
            columns -= 1
        area = tile_height * _tile_length(width, columns, divisor, margin)
        # Among equals, the fewest tiles; with `shortest_valid` the fewest rows.
        tie = rows * columns if shortest_valid is None else rows
        plans.append((max(area - largest_tile, 0), rows * columns * area, tie, rows, columns))
    excess, _, _, rows, columns = min(plans)
    if excess and shortest_valid is None:
        raise ValueError(
            f"tiles of {largest_tile} pixels are too small for a margin of {margin} pixels, "
            f"expected at least {least**2}"
        )
    evenly = shortest_valid is not None
    return _tile_slices(shape[0], rows, divisor, margin, evenly), _tile_slices(
        shape[1], columns, divisor, margin, evenly
    )


def round_up(length: int, divisor: int) -> int:
    """Return the least multiple of `divisor` that is not less than `length`."""
    return -(-length // divisor) * divisor


def _tile_length(length: int, tiles: int, divisor: int, margin: int) -> int:
    """Return the length of each of several tiles that cover an axis; neighbours share two margins."""
    # 2000 pixels in 2 tiles, margin 96, divisor 16: (2000 + 192) / 2 = 1096 -> 1104
    return round_up(math.ceil((length + 2 * margin * (tiles - 1)) / tiles), divisor)


def _tile_slices(length: int, tiles: int, divisor: int, margin: int, evenly: bool) -> list[TileSlice]:
    padded = round_up(length, divisor)
    tile = _tile_length(padded, tiles, divisor, margin)
    if evenly:
        starts = [index * (padded - tile) // max(tiles - 1, 1) // divisor * divisor for index in range(tiles)]
    else:  # the last one is moved back into the picture
        starts = sorted({min(index * (tile - 2 * margin), padded - tile) for index in range(tiles)})
    bounds = [0, *(start + margin for start in starts[1:]), length]
    return [
        TileSlice(start, start + tile, first, last)
        for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True)
    ]

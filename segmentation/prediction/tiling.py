"""Images of any size through a network that takes some sizes: pad, cut, put together.

The network pools on a grid of ``divisor`` pixels, so every tile starts on that grid; near a tile's edge it sees zeros
instead of the picture, so a margin as wide as its receptive field is thrown away. What is left is what the network
gives for the whole image at once.
"""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from segmentation.prediction.engines import LARGEST_TILE, Engine


@dataclass(frozen=True)
class TileSlice:
    """Along one axis, in pixels: where a tile starts and stops, and what part of it is kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def tile(self) -> slice:
        """The tile in the image."""
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        """What is kept, in the image."""
        return slice(self.keep_start, self.keep_stop)

    @property
    def kept_in_tile(self) -> slice:
        """What is kept, in the tile."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


def predict_channels(
    engine: Engine,
    image: np.ndarray,
    divisor: int,
    margin: int,
    largest_tile: int = LARGEST_TILE,
) -> np.ndarray:
    """Run the network on one image, whole if it is small enough, else in tiles.

    Parameters
    ----------
    engine : Engine
        Takes tiles whose sides are divisible by `divisor`.
    image : (H, W, 3) ndarray of float32
        Normalised.
    divisor : int
        2 ** depth of the network.
    margin : int
        The network's receptive-field radius, in pixels.
    largest_tile : int
        Largest area to give to the network at once, in pixels.

    Returns
    -------
    (H, W, C) ndarray of float32

    Raises
    ------
    ValueError
        If the image is empty, has not three channels, or no tile of that area leaves anything within its margin.
    """
    return predict_batch(engine, [image], divisor, margin, largest_tile)[0]


def predict_batch(
    engine: Engine,
    images: Sequence[np.ndarray],
    divisor: int,
    margin: int,
    largest_tile: int = LARGEST_TILE,
) -> list[np.ndarray]:
    """Run the network on several images whose padded shapes are equal: `predict_channels`, but in one batch.

    Parameters
    ----------
    images : sequence of (H, W, 3) ndarray of float32
        All of the same `padded_shape`.
    engine, divisor, margin, largest_tile
        As in `predict_channels`.

    Returns
    -------
    list of (H, W, C) ndarray of float32
    """
    padded = [pad_to_multiple(image, divisor) for image in images]
    shapes = {image.shape for image in padded}
    if len(shapes) != 1:
        raise ValueError(f"images of one batch must have one padded shape, got {sorted(shapes)}")
    height, width, _ = shapes.pop()
    rows, columns = plan_tiles(height, width, divisor, margin, largest_tile)
    if len(rows) == len(columns) == 1:
        outputs = engine(np.stack(padded))
    else:
        outputs = [_predict_in_tiles(engine, image, rows, columns) for image in padded]
    return [output[: image.shape[0], : image.shape[1]] for output, image in zip(outputs, images, strict=True)]


def padded_shape(height: int, width: int, divisor: int) -> tuple[int, int]:
    """Round a height and a width up to multiples of `divisor`."""
    return _round_up(height, divisor), _round_up(width, divisor)


def pad_to_multiple(image: np.ndarray, divisor: int) -> np.ndarray:
    """Pad at the bottom and on the right, by reflection, to multiples of `divisor`.

    Parameters
    ----------
    image : (H, W, 3) ndarray of float32
        May be smaller than what is added: the reflection is then reflected again.

    Returns
    -------
    (h, w, 3) ndarray of float32
    """
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"image must be (H, W, 3) and not empty, got {image.shape}")
    height, width = image.shape[:2]
    bottom, right = np.subtract(padded_shape(height, width, divisor), (height, width))
    if not bottom and not right:
        return image
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="reflect")


def plan_tiles(
    height: int, width: int, divisor: int, margin: int, largest_tile: int = LARGEST_TILE
) -> tuple[list[TileSlice], list[TileSlice]]:
    """Divide an image into equal tiles, such that the network computes as few pixels as it can.

    Parameters
    ----------
    height, width : int
        Of the padded image: multiples of `divisor`.
    divisor, margin, largest_tile : int
        As in `predict_channels`.

    Returns
    -------
    rows, columns : list of TileSlice
        Every pair of them is a tile; all tiles have one shape, start on multiples of `divisor`, and the kept parts
        cover the image once.
    """
    margin = _round_up(margin, divisor)
    best = None
    for rows in range(1, height // divisor + 1):
        tile_height = _tile_length(height, rows, divisor, margin)
        if tile_height <= 2 * margin and rows > 1:
            break
        columns = _fewest_tiles(width, largest_tile // tile_height, divisor, margin)
        if columns is None:
            continue
        cost = (rows * tile_height * columns * _tile_length(width, columns, divisor, margin), rows * columns)
        if best is None or cost < best[0]:
            best = cost, rows, columns
    if best is None:
        raise ValueError(
            f"tiles of {largest_tile} pixels are too small for a margin of {margin} pixels, "
            f"expected at least {(2 * margin + divisor) ** 2}"
        )
    _, rows, columns = best
    return _spans(height, rows, divisor, margin), _spans(width, columns, divisor, margin)


def _predict_in_tiles(engine: Engine, image: np.ndarray, rows: list[TileSlice], columns: list[TileSlice]) -> np.ndarray:
    tiles = [(row, column) for row in rows for column in columns]
    area = (rows[0].stop - rows[0].start) * (columns[0].stop - columns[0].start)
    batch_size = max(1, engine.batch_pixels // area)
    channels = None
    lock = threading.Lock()

    def predict(batch: list[tuple[TileSlice, TileSlice]]) -> None:
        nonlocal channels
        outputs = engine(np.stack([image[row.tile, column.tile] for row, column in batch]))
        with lock:
            if channels is None:
                channels = np.empty((*image.shape[:2], outputs.shape[-1]), np.float32)
        for (row, column), output in zip(batch, outputs, strict=True):
            channels[row.kept, column.kept] = output[row.kept_in_tile, column.kept_in_tile]

    with ThreadPoolExecutor(engine.streams, "tiles") as streams:
        list(streams.map(predict, (tiles[first : first + batch_size] for first in range(0, len(tiles), batch_size))))
    return channels


def _tile_length(length: int, tiles: int, divisor: int, margin: int) -> int:
    """Length of each of some tiles that together cover an axis; neighbours share two margins."""
    # 2000 pixels in 2 tiles, margin 96, divisor 16: (2000 + 192) / 2 = 1096 -> 1104
    return _round_up(math.ceil((length + 2 * margin * (tiles - 1)) / tiles), divisor)


def _fewest_tiles(length: int, longest: int, divisor: int, margin: int) -> int | None:
    """The least number of tiles no longer than `longest` that cover an axis; None if there is none."""
    longest = longest // divisor * divisor
    if length <= longest:
        return 1
    step = longest - 2 * margin
    return max(2, math.ceil((length - 2 * margin) / step)) if step > 0 else None


def _spans(length: int, tiles: int, divisor: int, margin: int) -> list[TileSlice]:
    tile = _tile_length(length, tiles, divisor, margin)
    # The last tile is moved back into the image; it overlaps its neighbour by more than two margins.
    starts = sorted({min(index * (tile - 2 * margin), length - tile) for index in range(tiles)})
    keep = [0, *(start + margin for start in starts[1:]), length]
    return [
        TileSlice(start, start + tile, keep_start, keep_stop)
        for start, keep_start, keep_stop in zip(starts, keep[:-1], keep[1:], strict=True)
    ]


def _round_up(length: int, divisor: int) -> int:
    return math.ceil(length / divisor) * divisor

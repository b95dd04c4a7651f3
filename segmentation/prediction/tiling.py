"""Run the network on pictures of any size: pad, cut into tiles as `planning` says, put the valid regions together."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from segmentation.prediction.engines import Engine
from segmentation.prediction.planning import LARGEST_TILE, TileSlice, plan_tiles, round_up


def predict_batch(
    engine: Engine, images: Sequence[np.ndarray], divisor: int, margin: int, largest_tile: int = LARGEST_TILE
) -> list[np.ndarray]:
    """Run the network on images of one shape: in one batch if they are small enough, else each in tiles.

    Parameters
    ----------
    engine : Engine
        Takes tiles whose sides are divisible by `divisor`.
    images : sequence of (H, W, 3) ndarray of float32
        Normalised, all of the same `padded_shape`.
    divisor, margin, largest_tile : int
        As in `segmentation.prediction.planning.plan_tiles`.

    Returns
    -------
    list of (H, W, C) ndarray of float32

    Raises
    ------
    ValueError
        If the padded shapes differ, an image is empty or has not three channels, or as in `plan_tiles`.
    """
    padded = [pad_to_multiple(image, divisor) for image in images]
    shapes = {image.shape for image in padded}
    if len(shapes) != 1:
        raise ValueError(f"images of one batch must have one padded shape, got {sorted(shapes)}")
    rows, columns = plan_tiles(padded[0].shape[:2], divisor, margin, largest_tile)

    def run(tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(engine(np.stack(tiles)))

    if len(rows) == len(columns) == 1:
        outputs = run(padded)
    else:
        area = (rows[0].stop - rows[0].start) * (columns[0].stop - columns[0].start)
        batch_size = max(1, engine.batch_pixels // area)
        outputs = [predict_tiles(run, image, rows, columns, batch_size, engine.streams) for image in padded]
    return [output[: image.shape[0], : image.shape[1]] for output, image in zip(outputs, images, strict=True)]


def predict_tiles(
    run: Callable[[Sequence[np.ndarray]], list[np.ndarray]],
    image: np.ndarray,
    rows: Sequence[TileSlice],
    columns: Sequence[TileSlice],
    batch_size: int = 1,
    threads: int = 1,
) -> np.ndarray:
    """Predict an image, ``(H, W, 3)`` float32, tile by tile, and put the valid regions together: ``(H, W, C)`` float32.

    `run` takes a batch of tiles, ``(h, w, 3)`` each, and returns the channels of each, ``(h, w, C)``; so many `threads`
    call it at once.
    """
    tiles = [(row, column) for row in rows for column in columns]
    channels = np.empty((0, 0, 0), np.float32)
    lock = threading.Lock()

    def predict(batch: list[tuple[TileSlice, TileSlice]]) -> None:
        nonlocal channels
        outputs = run([image[row.tile, column.tile] for row, column in batch])
        with lock:
            if not channels.size:  # how many channels there are is known by the first output
                channels = np.empty((*image.shape[:2], outputs[0].shape[-1]), np.float32)
        for (row, column), output in zip(batch, outputs, strict=True):
            channels[row.valid, column.valid] = output[row.valid_in_tile, column.valid_in_tile]

    with ThreadPoolExecutor(threads, "tiles") as streams:
        list(streams.map(predict, (tiles[first : first + batch_size] for first in range(0, len(tiles), batch_size))))
    return channels


def padded_shape(height: int, width: int, divisor: int) -> tuple[int, int]:
    """Round a height and a width up to multiples of `divisor`."""
    return round_up(height, divisor), round_up(width, divisor)


def pad_to_multiple(image: np.ndarray, divisor: int) -> np.ndarray:
    """Pad ``(H, W, 3)`` float32 at the bottom and on the right, by reflection, to multiples of `divisor`.

    An image may be smaller than what is added: the reflection is then reflected again. Raises ValueError for one that
    is empty or has not three channels.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"image must be (H, W, 3) and not empty, got {image.shape}")
    height, width = image.shape[:2]
    bottom, right = np.subtract(padded_shape(height, width, divisor), (height, width))
    if not bottom and not right:
        return image
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="reflect")

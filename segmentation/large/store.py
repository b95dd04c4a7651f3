"""Blocks kept on disk, so that a call that was killed resumes where it was.

A folder holds ``identity.json`` and ``cut.json``, which say from which picture, with which settings and in which blocks
the rest was made; ``survey.json``, the contrast and scale of the picture; ``ROW-COLUMN.npz`` for each finished block:
its labels and fragments; and, for blocks that wait for their neighbours, ``ROW-COLUMN.bottom.npy`` and
``ROW-COLUMN.right.npy``: the last rows and columns of the network's output for a tile.
"""

import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np

from segmentation.atomic import written_whole
from segmentation.large.blocks import Block, Grid
from segmentation.large.fragments import Fragments

# Labels of a core are stored in bands of so many rows of the picture, so that a part of a block can be read.
BAND = 256
SIDES = ("top", "bottom", "left", "right")
_FIELDS = ("core_area", "window_area", "is_cut", "box")


class BlockStore:
    """The folder for one picture; `open` it with a grid before anything is done with blocks.

    The folder is made if it does not exist, and emptied if it has another identity: all that decides the content of the
    blocks, besides how the picture is cut, in JSON types.
    """

    _grid: Grid

    def __init__(self, folder: Path, identity: dict) -> None:
        self._folder = folder
        self._finished: set[str] = set()
        self._lock = threading.Lock()
        if self.recall("identity") != identity:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.remember("identity", identity)

    def open(self, grid: Grid) -> None:
        """Set how the picture is cut; blocks of another cut are removed."""
        starts = [[axis.tile.start for axis in axes] for axes in (grid.rows, grid.columns)]
        cut = {"shape": list(grid.shape), "halo": grid.halo, "starts": starts}
        if self.recall("cut") != cut:
            for file in self._folder.glob("*-*.np*"):
                file.unlink()
            self.remember("cut", cut)
        self._grid = grid
        self._finished = {file.name for file in self._folder.glob("*-*.npz")}

    def recall(self, name: str) -> dict | None:
        """Return what was remembered by this name; None if nothing was."""
        try:
            return json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def remember(self, name: str, value: dict) -> dict:
        """Keep something in JSON types; return it as `recall` will."""
        with written_whole(self._folder / f"{name}.json") as part:
            part.write_text(text := json.dumps(value), encoding="utf-8")
        return json.loads(text)

    def is_finished(self, block: Block) -> bool:
        """Return whether the labels of a block were stored when the grid was set, or are by this process."""
        return _name(block) in self._finished

    def is_kept(self, block: Block) -> bool:
        """Return whether the labels of a block are stored by any process."""
        return (self._folder / _name(block)).exists()

    def write_edges(self, block: Block, channels: np.ndarray) -> None:
        """Store of the channels of a valid region, (h, w, C), what the windows below and to the right will need."""
        depth = 2 * self._grid.halo
        for side, goes_on, edge in (
            ("bottom", block.row + 1 < len(self._grid.rows), channels[-depth:]),
            ("right", block.column + 1 < len(self._grid.columns), channels[:, -depth:]),
        ):
            if goes_on:
                with written_whole(self._folder / f"{block.row}-{block.column}.{side}.npy") as part:
                    np.save(part, edge)

    def read_window(self, block: Block, channels: np.ndarray) -> np.ndarray:
        """Return the channels of a window: those of its valid region, (h, w, C), and the edges of its neighbours."""
        above, left = (axis.tile.valid_start - axis.window.start for axis in (block.rows, block.columns))
        window = np.empty((*block.window_shape, channels.shape[-1]), np.float32)
        window[above:, left:] = channels
        if left:
            window[above:, :left] = np.load(self._folder / f"{block.row}-{block.column - 1}.right.npy")
        if above:
            window[:above, left:] = np.load(self._folder / f"{block.row - 1}-{block.column}.bottom.npy")
        if above and left:
            corner = np.load(self._folder / f"{block.row - 1}-{block.column - 1}.bottom.npy")
            window[:above, :left] = corner[:, -left:]
        return window

    def write_block(self, block: Block, labels: np.ndarray, fragments: Fragments) -> None:
        """Store the labels of a window, (h, w) int32, and its fragments; the block is then finished."""
        depth = 2 * self._grid.halo
        core = labels[block.core_in_window]
        arrays = {f"core{band}": _pack(core[part]) for band, part in _bands(block)}
        frame = labels[:depth], labels[-depth:], labels[:, :depth], labels[:, -depth:]
        arrays |= {side: _pack(part) for side, part in zip(SIDES, frame, strict=True)}
        arrays |= {field: getattr(fragments, field) for field in _FIELDS}
        arrays |= {f"table_{name}": values for name, values in fragments.table.items()}
        arrays |= {f"evidence_{name}": values for name, values in fragments.evidence.items()}
        name = _name(block)
        with written_whole(self._folder / name) as part:
            np.savez(part, **arrays)  # type: ignore[arg-type]  # NumPy's types take them for its own options
        with self._lock:
            self._finished.add(name)
            self._drop_edges(block.row - 1)
            self._drop_edges(block.row)

    def read_fragments(self, block: Block) -> Fragments:
        """Return the fragments of a finished block."""
        with self._open(block) as arrays:
            table, evidence = (
                {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}
                for prefix in ("table_", "evidence_")
            )
            return Fragments(**{field: arrays[field] for field in _FIELDS}, table=table, evidence=evidence)

    def read_frame(self, block: Block) -> dict[str, np.ndarray]:
        """Return the outermost two halos of a finished block's window, by side: (h, w) int32 each."""
        with self._open(block) as arrays:
            return {side: _unpack(arrays[side]) for side in SIDES}

    def read_core(self, block: Block, rows: slice) -> np.ndarray:
        """Return the labels of a finished block's core in some of its rows, given in the picture: (h, w) int32."""
        with self._open(block) as arrays:
            bands = range(rows.start // BAND, -(-rows.stop // BAND))
            labels = np.concatenate([_unpack(arrays[f"core{band}"]) for band in bands])
        first = max(bands.start * BAND, block.rows.core.start)
        return labels[rows.start - first : rows.stop - first]

    def _open(self, block: Block) -> np.lib.npyio.NpzFile:
        return np.load(self._folder / _name(block))

    def _drop_edges(self, row: int) -> None:
        """Remove the edges of a row of the grid once it and the next row are finished."""
        if not 0 <= row < len(self._grid.rows) - 1:
            return
        columns = range(len(self._grid.columns))
        if all(self.is_finished(self._grid.block(line, column)) for line in (row, row + 1) for column in columns):
            drop_edges(self._folder, row)


def drop_edges(folder: Path, row: int) -> None:
    """Remove the edges of a row of the grid from the folder of a picture."""
    for file in folder.glob(f"{row}-*.npy"):
        file.unlink(missing_ok=True)


def _name(block: Block) -> str:
    return f"{block.row}-{block.column}.npz"


def _bands(block: Block) -> Iterator[tuple[int, slice]]:
    """Yield the bands that a block's core is stored in: the number of each, and its rows in the core."""
    core = block.rows.core
    for band in range(core.start // BAND, -(-core.stop // BAND)):
        first, last = max(band * BAND, core.start), min((band + 1) * BAND, core.stop)
        yield band, slice(first - core.start, last - core.start)


def _pack(labels: np.ndarray) -> np.ndarray:
    """Compress labels, shape and all; Zstandard is ten times as fast as the deflate of ``savez_compressed``."""
    stream = io.BytesIO()
    np.save(stream, labels.astype(np.int32))
    return np.frombuffer(imagecodecs.zstd_encode(stream.getvalue(), level=1), np.uint8)


def _unpack(packed: np.ndarray) -> np.ndarray:
    return np.load(io.BytesIO(imagecodecs.zstd_decode(packed.tobytes())))

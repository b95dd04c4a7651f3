"""Olympus OIB, and OIF with the folder beside it, read by `oiffile`: one scene."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import oiffile

from segmentation.data.formats.decoded import DecodeError, check_claim
from segmentation.data.formats.pixel_size import MICROMETRES, credible_size
from segmentation.data.formats.scenes import Scene, as_names


@contextmanager
def open_scenes(stream: BinaryIO) -> Iterator[list[Scene]]:
    """Open an OIB, or the main file of an OIF, and list its one scene."""
    name = getattr(stream, "name", None)
    with ExitStack() as stack:
        if not isinstance(name, str):  # in an archive, or in memory; the library reads files on disk alone
            name = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "content.oib")
            Path(name).write_bytes(stream.read())
        file = stack.enter_context(oiffile.OifFile(name))
        yield [_scene(file)]


def _scene(file: oiffile.OifFile) -> Scene:
    sequence: Any = file.series[0]
    sizes = dict(zip(file.axes, file.shape, strict=True))
    height, width = sizes["Y"], sizes["X"]
    outer = dict(zip(sequence.axes, sequence.shape, strict=True))
    files = dict(zip(sequence.indices, list(sequence), strict=True))
    others = [f"{length} {axis}" for axis, length in outer.items() if axis not in "TZC" and length > 1]
    if others:
        raise DecodeError(f"is an OIB of {' x '.join(others)}, where times, planes and channels were expected")
    check_claim(width, height, 0, 0, 1)

    def read(frame: int, depth: int, channel: int) -> np.ndarray:
        place = {"T": frame, "Z": depth, "C": channel}
        return np.asarray(file.asarray(files[tuple(place.get(axis, 0) for axis in outer)])).reshape(height, width)

    settings = file.mainfile
    names = [
        settings.get(f"Channel {number} Parameters", {}).get("CH Name") for number in range(1, outer.get("C", 1) + 1)
    ]
    sides = [_spacing(settings.get(f"Axis {number} Parameters Common", {})) for number in (0, 1)]
    return Scene(
        shape=(height, width),
        frames=outer.get("T", 1),
        depth=outer.get("Z", 1),
        names=as_names(names, outer.get("C", 1), False),
        pixel_size_um=credible_size(*sides),
        read=read,
    )


def _spacing(axis: dict) -> float:
    """Return the distance of two pixels in micrometres."""
    count, unit = int(axis.get("MaxSize", 0)), MICROMETRES.get(axis.get("UnitName", ""), 0)
    return abs(float(axis.get("EndPosition", 0)) - float(axis.get("StartPosition", 0))) / max(count, 1) * unit

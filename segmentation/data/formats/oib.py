"""Olympus OIB, and OIF with the folder beside it, read by `oiffile`: one scene."""

import os
import struct
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import oiffile

from segmentation.data.formats.decoded import DecodeError, check_claim
from segmentation.data.formats.pixel_size import MICROMETRES, credible_size
from segmentation.data.formats.scenes import Scene, as_names
from segmentation.data.formats.tiff import decode_tiff

_CIRCLE = "is a damaged OIB whose sectors form a circle, where chains with an end were expected"


class _CompoundFile(oiffile.oiffile.CompoundFile):
    """A compound file, whose chains of sectors end; the library would follow a circle for ever."""

    def _sec_chain(self, secid: int, /) -> Generator[bytes]:
        yield from _ended(super()._sec_chain(secid), len(self._fat))

    def _mini_sec_chain(self, secid: int, /) -> Generator[bytes]:
        yield from _ended(super()._mini_sec_chain(secid), len(self._minifat))


oiffile.oiffile.CompoundFile = _CompoundFile  # type: ignore[misc]


def _ended(chain: Iterator[bytes], most: int) -> Iterator[bytes]:
    for number, sector in enumerate(chain):
        if number == most:
            raise DecodeError(_CIRCLE)
        yield sector


@contextmanager
def open_scenes(stream: BinaryIO) -> Iterator[list[Scene]]:
    """Open an OIB, or the main file of an OIF, and list its one scene."""
    name = getattr(stream, "name", None)
    with ExitStack() as stack:
        if not isinstance(name, str):  # in an archive, or in memory; the library reads files on disk alone
            name = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "content.oib")
            Path(name).write_bytes(stream.read())
        _check_header(Path(name))
        file = stack.enter_context(oiffile.OifFile(name))
        yield [_scene(file)]


def _check_header(file: Path) -> None:
    """Refuse a compound file whose header claims more sectors for its tables than it has."""
    with file.open("rb") as stream:
        header = stream.read(76)
    if header.startswith(b"\xd0\xcf\x11\xe0") and len(header) == 76:
        shift, tables, further = (*struct.unpack_from("<H12xI", header, 30), *struct.unpack_from("<I", header, 72))
        claimed, present = tables + further, file.stat().st_size >> min(shift, 64)
        if claimed > present:
            raise DecodeError(f"is a damaged OIB of {present:,} sectors that claims {claimed:,} of them for its tables")


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
        with file.open_file(files[tuple(place.get(axis, 0) for axis in outer)]) as stream:
            return decode_tiff(stream).pixels.reshape(height, width)

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

"""OME-Zarr by blocks: the finest level of a picture in a folder, version 0.4 (Zarr 2) or 0.5 (Zarr 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.data.formats.channels import (
    SeveralChannels,
    are_colours,
    choose_channel,
    is_all_colours,
    list_channels,
    name_channels,
)
from segmentation.data.formats.decoded import (
    CHOOSE_SERIES,
    EXPANSION_OF_CODECS,
    MAX_PIXELS,
    Decoded,
    DecodeError,
    Undecided,
    one_line,
)
from segmentation.data.formats.pixel_size import MICROMETRES, PixelSize, credible_size
from segmentation.data.formats.planes import Place, Planes, project

if TYPE_CHECKING:
    import zarr

_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_WHAT = "an OME-Zarr picture, version 0.4 or 0.5,"
_HELD = {"t": "time points", "z": "planes in Z", "c": "channels"}


def is_zarr(folder: Path) -> bool:
    """Whether a folder is the root of a Zarr store."""
    return any((folder / name).is_file() for name in _METADATA)


class ZarrBlocks:
    """The plane of an OME-Zarr picture, or one channel of it.

    A picture of three channels named red, green and blue is a colour one. Time and Z must be of length 1.

    Parameters
    ----------
    channel : str, optional
        As `segmentation.data.formats.channels.choose_channel` takes it.

    Attributes
    ----------
    shape, description, channel_names
        As in `segmentation.data.formats.tiff_blocks.TiffBlocks`.
    zarr_format : int
        2 or 3.

    Raises
    ------
    DecodeError
        The folder holds no such picture, several pictures, several planes, or several channels other than red, green
        and blue, none of which is chosen.
    """

    def __init__(self, folder: Path, channel: str | None = None, planes: Planes | None = None) -> None:
        planes = planes or Planes()
        root = _open(folder)
        try:
            self._array, self._axes, names, self._pixel_size_um = _open_picture(root, planes.series)
            _check_sizes(folder, self._array)
        except DecodeError:
            raise
        except Exception as error:  # whatever the metadata lack shows as one of many types
            raise _undecodable(error) from error
        self.zarr_format = root.metadata.zarr_format
        lengths = dict(zip(self._axes, self._array.shape, strict=True))
        self.shape = lengths["y"], lengths["x"]
        if 0 in self._array.shape:
            raise DecodeError(f"holds a picture of shape {self._array.shape}, where at least 1 x 1 was expected")
        counts = " x ".join(f"{lengths[a]} {_HELD[a]}" for a in self._axes if a in _HELD and lengths[a] > 1)
        held = f"holds {counts} (axes {self._axes.upper()}, shape {self._array.shape})"
        frames, frame = lengths.get("t", 1), planes.frame or 0
        if frames > 1 and planes.frame is None:
            raise DecodeError(f"{held}, where one plane, grey or RGB, was expected")
        if frame >= frames:
            raise DecodeError(f"{held}, where a frame {frame + 1} was asked for")
        depth = lengths.get("z", 1)
        self._frame, self._depths = frame, planes.depths(depth, held) if depth > 1 else [0]
        self._project = planes.project

        count = lengths.get("c", 1)
        names = names if len(names) == count else [None] * count
        self.channel_names: tuple[str, ...] = ()
        self._channels: int | slice = 0
        if is_all_colours(channel) and count > 1:
            if count < 3:
                raise DecodeError(f"{held}, where at least three were expected for --channel rgb")
            self._channels = slice(0, 3)
        elif channel is not None and count > 1:
            self._channels = choose_channel(channel, names)
            self.channel_names = name_channels(names, self._channels)
        elif are_colours(names):
            self._channels = slice(None)
        elif count > 1:
            numbered = f": {list_channels(names)}" if any(names) else ""
            raise SeveralChannels(f"{held}{numbered}, where one plane, grey or RGB, was expected")
        single = np.zeros((1, 1, 3) if isinstance(self._channels, slice) else (1, 1), self._array.dtype)
        single = project([single for _ in self._depths], self._project)
        self.description = self._decoded(single)

    def close(self) -> None:
        """Do nothing: between reads no file is open."""

    def read(self, rows: slice, columns: slice, all_channels: bool = False) -> Decoded:
        """Decode a part of the plane; as `segmentation.data.formats.tiff_blocks.TiffBlocks.read`."""
        all_channels = all_channels and isinstance(self._channels, int)
        where = {"y": rows, "x": columns, "c": slice(None) if all_channels else self._channels}
        try:
            stack = ({**where, "t": self._frame, "z": depth} for depth in self._depths)
            planes = (np.asarray(self._array[tuple(one[axis] for axis in self._axes)]) for one in stack)
            pixels = project(planes, self._project)
        except OSError:
            raise
        except Exception as error:  # MemoryError too: a chunk may claim any size
            raise _undecodable(error) from error
        kept = [axis for axis in self._axes if axis in ("yxc" if pixels.ndim == 3 else "yx")]
        pixels = pixels.transpose([kept.index(axis) for axis in "yxc"[: pixels.ndim]])
        if pixels.ndim == 3:
            if all_channels:
                return self._decoded(pixels[..., self._channels], pixels)
        return self._decoded(pixels)

    def _decoded(self, pixels: np.ndarray, channels: np.ndarray | None = None) -> Decoded:
        return Decoded(pixels, pixel_size_um=self._pixel_size_um, channels=channels, names=self.channel_names)


def _check_sizes(folder: Path, array: zarr.Array) -> None:
    """Compare the claimed size of an array with what is stored, and that of its chunks with what is read at once."""
    chunk = math.prod(array.chunks)
    if chunk > MAX_PIXELS // 4:
        raise DecodeError(
            f"stores chunks of {' x '.join(map(str, array.chunks))} pixels, where at most {MAX_PIXELS // 4:,} were "
            "expected: save it with smaller chunks"
        )
    stored = sum(file.stat().st_size for file in (folder / array.path).rglob("*") if file.is_file())
    claimed = math.prod(array.shape) * array.dtype.itemsize
    if claimed > stored * EXPANSION_OF_CODECS:
        raise DecodeError(
            f"claims a shape of {array.shape}, {claimed:,} bytes, but stores {stored:,} bytes, where at least "
            f"{-(-claimed // EXPANSION_OF_CODECS):,} were expected: it is empty, incomplete or not what it claims to be"
        )


def _undecodable(error: Exception) -> DecodeError:
    return DecodeError(f"is a Zarr store that cannot be read ({one_line(error)}), where {_WHAT} was expected")


def _open_picture(
    root: zarr.Group | zarr.Array, series: int | None
) -> tuple[zarr.Array, str, Sequence[str | None], PixelSize | None]:
    """Return the array of the finest level, its axes as letters, the channels' names and the pixel size."""
    import zarr

    if isinstance(root, zarr.Array):
        if root.ndim != 2:
            raise DecodeError(f"is a Zarr array of {root.ndim} axes without names, where {_WHAT} was expected")
        return root, "yx", (), None
    metadata = _ome(root)
    if "plate" in metadata or "well" in metadata:
        raise DecodeError(f"is a plate of many pictures, where {_WHAT} was expected: name the pictures within")
    if "multiscales" not in metadata and "0" in root:  # as bioformats2raw lays out a file of several pictures
        if series is None and "1" in root and isinstance(root["1"], zarr.Group):
            raise Undecided(f"holds several pictures, where {_WHAT} was expected", CHOOSE_SERIES)
        if str(series or 0) not in root:
            raise DecodeError(f"holds no series {(series or 0) + 1}, which was asked for (--series)")
        first = root[str(series or 0)]
        if isinstance(first, zarr.Group):
            root, metadata = first, _ome(first)
    if not metadata.get("multiscales"):
        raise DecodeError(f"is a Zarr store without 'multiscales' in its metadata, where {_WHAT} was expected")
    scales = metadata["multiscales"][0]
    finest = scales["datasets"][0]
    array = root[finest["path"]]
    if not isinstance(array, zarr.Array):
        raise DecodeError(f"holds no array at {finest['path']!r}, where {_WHAT} was expected")
    # Before version 0.4 axes had no units, before 0.3 no names.
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales.get("axes", "tczyx"[-array.ndim :])]
    letters = "".join(axis["name"].lower()[:1] for axis in axes)
    if len(letters) != array.ndim or not set("yx") <= set(letters) <= set("tczyx"):
        raise DecodeError(f"is a Zarr picture with axes {letters!r} of shape {array.shape}, where 'tczyx' was expected")
    sides = np.ones(len(axes))
    for transformation in (
        *finest.get("coordinateTransformations", []),
        *scales.get("coordinateTransformations", []),
    ):
        if transformation.get("type") == "scale":
            sides = sides * np.asarray(transformation["scale"], float)
    micrometres = {
        axis["name"]: side * MICROMETRES.get(axis.get("unit", ""), 0) for axis, side in zip(axes, sides, strict=True)
    }
    names = [
        None if entry.get("label") is None else str(entry["label"])
        for entry in metadata.get("omero", {}).get("channels", [])
    ]
    return array, letters, names, credible_size(micrometres["x"], micrometres["y"])


def list_fields(folder: Path) -> list[tuple[Path, Place]]:
    """List the pictures of a plate: the folder of each, and its row, column and field; none of other stores.

    None either of a plate that names a folder outside of its own. A well that cannot be read is one picture, so that
    reading it says so.
    """
    found: list[tuple[Path, Place]] = []
    try:
        root: Any = _open(folder)
        for well in _ome(root).get("plate", {}).get("wells", []):
            row, column = str(well["path"]).split("/")
            place = ("row", row), ("column", column)
            try:
                images = [str(image["path"]) for image in _ome(root[well["path"]])["well"]["images"]]
            except Exception:
                found.append((folder / row / column, place))
                continue
            for number, image in enumerate(images, 1):
                found.append((folder / row / column / image, (*place, ("field", str(number)))))
        if not all(field.resolve().is_relative_to(folder.resolve()) for field, _ in found):
            return []
    except Exception:  # whatever the metadata lack: reading says so
        return []
    return found


def count_frames(folder: Path) -> list[int]:
    """Return the number of points in time of each series of a store."""
    import zarr

    try:
        root, counts = _open(folder), []
        if not isinstance(root, zarr.Group) or "multiscales" in _ome(root):
            pictures: list[int | None] = [None]
        else:
            pictures = list(range(sum(1 for name in root.group_keys() if name.isdecimal())))
        for number in pictures:
            array, axes, _, _ = _open_picture(root, number)
            counts.append(dict(zip(axes, array.shape, strict=True)).get("t", 1))
        return counts or [1]
    except DecodeError:
        raise
    except Exception as error:
        raise _undecodable(error) from error


def _open(folder: Path) -> zarr.Group | zarr.Array:
    try:
        import zarr
    except ImportError as error:
        raise DecodeError(
            "is in Zarr, for which the library zarr was expected; run: pip install -r requirements-predict.txt"
        ) from error
    try:
        return zarr.open(str(folder), mode="r")
    except Exception as error:
        raise _undecodable(error) from error


def _ome(group: zarr.Group) -> dict[str, Any]:
    attributes: dict[str, Any] = dict(group.attrs)
    return attributes.get("ome", attributes)

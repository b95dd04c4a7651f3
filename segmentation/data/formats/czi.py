"""Zeiss CZI, read by `czifile`: the tiles of each scene at full resolution.

Tiles are decoded here, by `imagecodecs`: `czifile` for Python 3.11 knows no Zstandard, in which today's microscopes
write. The constants are those of Zeiss' libCZI.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO
from xml.etree import ElementTree

import czifile
import imagecodecs
import numpy as np

from segmentation.data.formats.bounded import Bounded
from segmentation.data.formats.decoded import EXPANSION_OF_CODECS, MAX_PIXELS, DecodeError, check_claim
from segmentation.data.formats.pixel_size import PixelSize, credible_size
from segmentation.data.formats.scenes import Scene, as_names, ranks

# What it warns of on the way is in the sentence at the end, or of no use.
warnings.filterwarnings("ignore", module="czifile")

_RAW, _JPEG, _LZW, _JPEG_XR, _ZSTD, _ZSTD_WITH_HEADER = 0, 1, 2, 4, 5, 6
_Entry = Any  # czifile.czifile.DirectoryEntryDV


@contextmanager
def open_scenes(stream: BinaryIO) -> Iterator[list[Scene]]:
    """Open a CZI and list its scenes."""
    with czifile.CziFile(Bounded(stream)) as czi:
        names, size = _describe(czi.metadata())
        scenes: dict[int, list[_Entry]] = {}
        for entry in filter(_is_full, czi.subblock_directory):
            scenes.setdefault(_start(entry, "S"), []).append(entry)
        yield [_scene(scenes[number], names, size) for number in sorted(scenes)]


def _describe(xml: str | None) -> tuple[list[str | None], PixelSize | None]:
    """Return the names of the channels and the size of a pixel."""
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return [], None
    names = [channel.get("Name") for channel in root.findall(".//Information/Image/Dimensions/Channels/Channel")]
    metres = {item.get("Id"): float(item.findtext("Value") or 0) for item in root.findall(".//Scaling/Items/Distance")}
    return names, credible_size(metres.get("X", 0) * 1e6, metres.get("Y", 0) * 1e6)


def _is_full(entry: _Entry) -> bool:
    """Tell whether a tile is of the full resolution and not of the pyramid."""
    return all(dim.stored_size == dim.size for dim in entry.dimension_entries if dim.dimension in "YX")


def _start(entry: _Entry, axis: str) -> int:
    return next((dim.start for dim in entry.dimension_entries if dim.dimension == axis), 0)


def _length(entry: _Entry, axis: str) -> int:
    return next((dim.size for dim in entry.dimension_entries if dim.dimension == axis), 1)


def _scene(entries: Sequence[_Entry], names: Sequence[str | None], size: PixelSize | None) -> Scene:
    others = {axis for entry in entries for axis in entry.axes if axis not in "STZCYXB0"}
    several = sorted(axis for axis in others if len({_start(entry, axis) for entry in entries}) > 1)
    several += [axis for axis in "TZC" if any(_length(entry, axis) > 1 for entry in entries)]
    if several:
        raise DecodeError(f"is a CZI with several entries of the axes {', '.join(several)}, where one was expected")
    top, left = (min(_start(entry, axis) for entry in entries) for axis in "YX")
    bottom, right = (max(_start(entry, axis) + _length(entry, axis) for entry in entries) for axis in "YX")
    height, width = bottom - top, right - left
    dtypes = [np.dtype(entry.dtype) for entry in entries]
    dtype, has_colours = np.result_type(*{own.base for own in dtypes}), bool(dtypes[0].shape)
    if any(bool(own.shape) != has_colours for own in dtypes):
        raise DecodeError("is a CZI of colours beside grey channels, where one kind was expected: save each as TIFF")
    places = {axis: ranks(_start(entry, axis) for entry in entries) for axis in "TZC"}

    def read(frame: int, depth: int, channel: int) -> np.ndarray:
        place = places["T"][frame], places["Z"][depth], places["C"][channel]
        # Between the tiles is glass in colour, and darkness in fluorescence.
        shape = (height, width, 3) if has_colours else (height, width)
        picture = np.full(shape, np.iinfo(dtype).max if has_colours and dtype.kind == "u" else 0, dtype)
        tiles = [entry for entry in entries if tuple(_start(entry, axis) for axis in "TZC") == place]
        if not tiles:
            raise DecodeError(f"is a CZI that lacks a plane (T, Z, C = {place}), where a complete one was expected")
        for tile in tiles:
            row, column = _start(tile, "Y") - top, _start(tile, "X") - left
            pixels = _pixels(tile)
            picture[row : row + len(pixels), column : column + pixels.shape[1]] = pixels
        return picture

    counts = [len(places[axis]) for axis in "TZC"]
    channels = as_names(names, counts[2], has_colours)
    check_claim(width, height, 0, 0, 1, most_pixels=MAX_PIXELS)
    return Scene((height, width), counts[0], counts[1], channels, size, read, has_colours)


def _pixels(entry: _Entry) -> np.ndarray:
    """Read a tile: (h, w), or (h, w, 3) in the order of red, green and blue."""
    dtype, height, width = np.dtype(entry.dtype), _length(entry, "Y"), _length(entry, "X")
    segment = entry.data_segment()
    data = segment.data(raw=True)
    expected = height * width * dtype.itemsize
    check_claim(width, height, expected, len(data), 1 if entry.compression == _RAW else EXPANSION_OF_CODECS)
    if entry.compression == _JPEG_XR:
        pixels = imagecodecs.jpegxr_decode(data)
    elif entry.compression == _JPEG:
        pixels = imagecodecs.jpeg8_decode(data)
    elif entry.compression in (_RAW, _LZW, _ZSTD, _ZSTD_WITH_HEADER):
        decoded = _decompressed(data, entry.compression, expected, dtype.base.itemsize)
        pixels = np.frombuffer(decoded, dtype.base, expected // dtype.base.itemsize)
    else:
        raise DecodeError(
            f"is a CZI in compression {entry.compression}, which is not known: save it without compression"
        )
    pixels = pixels.reshape(height, width, -1)
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    # JPEG XR says itself in which order colours are; elsewhere it is blue, green and red. Alpha comes last.
    return pixels[..., :3] if entry.compression == _JPEG_XR else pixels[..., 2::-1]


def _decompressed(data: bytes, compression: int, expected: int, itemsize: int) -> bytes | bytearray:
    if compression == _RAW:
        return data
    if compression == _LZW:
        return imagecodecs.lzw_decode(data, out=expected)
    if compression == _ZSTD:
        return imagecodecs.zstd_decode(data, out=expected)
    # The header is its own length, and where that is 3: the number 1, and whether low and high bytes lie apart.
    length, apart = data[0], data[0] == 3 and data[2] & 1
    decoded = imagecodecs.zstd_decode(data[length:], out=expected)
    if apart and itemsize == 2:
        return np.frombuffer(decoded, np.uint8).reshape(2, -1).T.tobytes()
    return decoded

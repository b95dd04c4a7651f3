"""Open a TIFF that may be hostile: its pages form a chain without a circle, and no other file is opened for it."""

import math
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import tifffile

from segmentation.data.formats.bounded import Bounded
from segmentation.data.formats.decoded import DecodeError
from segmentation.data.formats.tiff_checks import Page
from segmentation.data.formats.tiff_pixel_size import all_ome_pixels

# More pages, or planes in the metadata, than any microscope writes into one file.
MAX_PAGES = 100_000

# By the version in the header: the format of the offset of a page, the format of the number of its tags, the bytes of a
# tag, and the place of the offset of the first page.
_LAYOUTS = {42: ("I", "H", 12, 4), 43: ("Q", "Q", 20, 8)}
# Hamamatsu's NDPI looks like a TIFF of version 42, but has longer offsets; its pages have this tag.
_NDPI_LAYOUT, _NDPI_TAG = ("Q", "H", 12, 4), 65420


def open_tiff(file: Path | BinaryIO) -> tifffile.TiffFile:
    """Open a TIFF, with only the planes of an OME-TIFF of several files that lie in this one.

    Raises
    ------
    DecodeError
        If a page comes after itself, or there are more than `MAX_PAGES` pages or planes.
    """
    if isinstance(file, Path):
        with file.open("rb") as stream:
            is_ndpi = _is_ndpi(stream)
            _follow_pages(stream, is_ndpi)
    else:
        is_ndpi = _is_ndpi(file)
        _follow_pages(file, is_ndpi)
        file.seek(0)
    opened: Any = file
    if is_ndpi:  # tifffile reads a header as long as the page claims; it takes what has `open` for a file to open
        opened = SimpleNamespace(open=lambda: Bounded(file.open("rb"))) if isinstance(file, Path) else Bounded(file)
    # Without the argument, tifffile takes the suffix for the format.
    tiff = tifffile.TiffFile(opened, _multifile=False, is_ndpi=is_ndpi)
    try:
        _check_planes(tiff)
    except BaseException:
        tiff.close()
        raise
    return tiff


def _is_ndpi(stream: BinaryIO) -> bool:
    """Tell whether the offset of 64 bits in the header leads to a page of Hamamatsu's."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    header = stream.read(12)
    if len(header) < 12 or not header.startswith(b"II*\0") or (page := struct.unpack_from("<Q", header, 4)[0]) >= size:
        return False
    stream.seek(page)
    tags = stream.read(12 * int.from_bytes(stream.read(2), "little"))
    return any(tags[place : place + 2] == _NDPI_TAG.to_bytes(2, "little") for place in range(0, len(tags), 12))


def _follow_pages(stream: BinaryIO, is_ndpi: bool) -> None:
    """Follow the chain of pages as far as it can be read; tifffile refuses the rest."""
    stream.seek(0)
    header = stream.read(16)
    byteorder = "<" if header[:2] == b"II" else ">"
    if len(header) < 16 or (version := struct.unpack_from(byteorder + "H", header, 2)[0]) not in _LAYOUTS:
        return
    offset_format, count_format, tag_size, first = _NDPI_LAYOUT if is_ndpi else _LAYOUTS[version]
    offset_format, count_format = byteorder + offset_format, byteorder + count_format
    (page,) = struct.unpack_from(offset_format, header, first)
    visited: set[int] = set()
    while page:
        if page in visited:
            raise DecodeError(
                f"is a damaged TIFF whose page {len(visited)} leads back to an earlier one, where an end was expected"
            )
        visited.add(page)
        if len(visited) > MAX_PAGES:
            raise DecodeError(f"is a TIFF of more than {MAX_PAGES:,} pages, where at most so many were expected")
        stream.seek(page)
        count = stream.read(struct.calcsize(count_format))
        if len(count) < struct.calcsize(count_format):
            return
        stream.seek(page + len(count) + struct.unpack(count_format, count)[0] * tag_size)
        following = stream.read(struct.calcsize(offset_format))
        if len(following) < struct.calcsize(offset_format):
            return
        (page,) = struct.unpack(offset_format, following)


def list_planes(tiff: tifffile.TiffFile, entry: tifffile.TiffPageSeries, count: int) -> list[Page]:
    """List the pages of a series; those of the planes that ImageJ (above 4 GB) and MetaMorph store behind one page."""
    pages = [page for page in entry.pages if page is not None]
    key = entry.keyframe
    if len(pages) > 1 or not entry.is_truncated or not key.is_final or count > MAX_PAGES:
        return pages if len(pages) == len(entry.pages) else []

    def behind(number: int) -> tifffile.TiffFrame:
        places = tuple(offset + number * key.nbytes for offset in key.dataoffsets)
        return tifffile.TiffFrame(tiff, number, keyframe=key, dataoffsets=places, databytecounts=key.databytecounts)

    return [key, *map(behind, range(1, count))]


def _check_planes(tiff: tifffile.TiffFile) -> None:
    """Refuse OME-XML that claims more planes than a file can have, for which tifffile would make a list."""
    if not tiff.is_ome:
        return
    for pixels in all_ome_pixels(tiff.ome_metadata):
        sizes = [pixels.get(name, "1") for name in ("SizeC", "SizeZ", "SizeT")]
        if math.prod(int(size) for size in sizes if size.isdecimal()) > MAX_PAGES:
            raise DecodeError(
                f"claims {' x '.join(sizes)} planes (C, Z, T) in its OME-XML, where at most {MAX_PAGES:,} were expected"
            )

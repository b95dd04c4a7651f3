"""Open a TIFF that may be hostile: its pages form a chain without a circle, and no other file is opened for it."""

import math
import struct
from pathlib import Path
from typing import BinaryIO

import tifffile

from segmentation.data.formats.decoded import DecodeError
from segmentation.data.formats.pixel_size import all_ome_pixels

# More pages, or planes in the metadata, than any microscope writes into one file.
MAX_PAGES = 100_000

# By the version in the header: the format of the offset of a page, the format of the number of its tags, the bytes of a
# tag, and the place of the offset of the first page.
_LAYOUTS = {42: ("I", "H", 12, 4), 43: ("Q", "Q", 20, 8)}


def open_tiff(file: Path | BinaryIO) -> tifffile.TiffFile:
    """Open a TIFF, with only the planes of an OME-TIFF of several files that lie in this one.

    Raises
    ------
    DecodeError
        If a page comes after itself, or there are more than `MAX_PAGES` pages or planes.
    """
    if isinstance(file, Path):
        with file.open("rb") as stream:
            _follow_pages(stream)
    else:
        _follow_pages(file)
        file.seek(0)
    tiff = tifffile.TiffFile(file, _multifile=False)
    try:
        _check_planes(tiff)
    except BaseException:
        tiff.close()
        raise
    return tiff


def _follow_pages(stream: BinaryIO) -> None:
    """Follow the chain of pages as far as it can be read; tifffile refuses the rest."""
    header = stream.read(16)
    byteorder = "<" if header[:2] == b"II" else ">"
    if len(header) < 16 or (version := struct.unpack_from(byteorder + "H", header, 2)[0]) not in _LAYOUTS:
        return
    offset_format, count_format, tag_size, first = _LAYOUTS[version]
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

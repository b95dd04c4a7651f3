"""Compare what a TIFF claims with what it holds, before anything is decoded."""

import math
import struct

import tifffile
from tifffile import COMPRESSION

from segmentation.data.formats.decoded import (
    DEFLATE_EXPANSION,
    EXPANSION_OF_CODECS,
    MAX_PIXELS,
    DecodeError,
    check_claim,
)
from segmentation.data.formats.streams import check_stream

Page = tifffile.TiffPage | tifffile.TiffFrame

# The most decoded bytes that one stored byte can stand for. An LZW code of 12 bits stands for at most 3,838 bytes.
_EXPANSION: dict[int, int] = {
    COMPRESSION.NONE: 1,
    COMPRESSION.PACKBITS: 64,
    COMPRESSION.LZW: 2_560,
    COMPRESSION.ADOBE_DEFLATE: DEFLATE_EXPANSION,
    COMPRESSION.DEFLATE: DEFLATE_EXPANSION,
}

# tifffile ignores a tag that it cannot read and takes the default of the format, which gives another picture.
_ESSENTIAL_TAGS = {
    256: "ImageWidth",
    257: "ImageLength",
    258: "BitsPerSample",
    259: "Compression",
    262: "PhotometricInterpretation",
    277: "SamplesPerPixel",
    317: "Predictor",
}


def check_directory(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Refuse a page whose directory lists what tifffile left out: a tag it could not read, a page that is not there."""
    layout, stream = tiff.tiff, tiff.filehandle
    stream.seek(page.offset)
    (n_tags,) = struct.unpack(layout.tagnoformat, stream.read(layout.tagnosize))
    entries = stream.read(n_tags * layout.tagsize)
    for position in range(0, len(entries), layout.tagsize):
        (code,) = struct.unpack_from(layout.byteorder + "H", entries, position)
        if code in _ESSENTIAL_TAGS and code not in page.tags:
            raise DecodeError(
                f"is a damaged TIFF whose tag {_ESSENTIAL_TAGS[code]} cannot be read, where a complete one was expected"
            )
    (next_page,) = struct.unpack(layout.offsetformat, stream.read(layout.offsetsize))
    if next_page and len(tiff.pages) == 1:
        raise DecodeError(
            "is a truncated or damaged TIFF whose second page is missing, where a complete one was expected"
        )
    # ImageJ's stacks of more than 4 GB have one page, behind which all other planes lie.
    count = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    if len(tiff.pages) == 1 < count and page.is_final:
        start, size = page.dataoffsets[0], sum(page.databytecounts)
        expected_end = start + count * size
        if start + 2 * size <= tiff.filehandle.size < expected_end:
            raise DecodeError(
                f"is a truncated TIFF of {tiff.filehandle.size:,} bytes, where at least {expected_end:,} were expected"
            )


def check_data(
    tiff: tifffile.TiffFile, key: tifffile.TiffPage, page: Page, most_pixels: int | None = MAX_PIXELS
) -> None:
    """Compare the size that the description `key` claims with the strips or tiles of a page, and these with the file.

    At most `most_pixels` may be claimed; None is no limit. `DecodeError` where they do not agree.
    """
    counts, file_size = page.databytecounts, tiff.filehandle.size
    width, height = key.imagewidth, key.imagelength
    expansion = _EXPANSION.get(key.compression, EXPANSION_OF_CODECS)
    size = height * ((width * key.samplesperpixel * key.bitspersample + 7) // 8)
    check_claim(width, height, size, min(sum(counts), file_size), expansion, most_pixels=most_pixels)
    if key.is_tiled:  # of which one alone can claim more than the picture
        width, height = key.tilewidth, key.tilelength
        samples = 1 if key.axes == "SYX" else key.samplesperpixel
        size = height * ((width * samples * key.bitspersample + 7) // 8)
        check_claim(width, height, size, min(max(counts), file_size), expansion, unit="pixels a tile")

    expected_end = max(offset + count for offset, count in zip(page.dataoffsets, counts, strict=False))
    if expected_end > file_size:
        raise DecodeError(f"is a truncated TIFF of {file_size:,} bytes, where at least {expected_end:,} were expected")
    n_expected, n_present = math.prod(key.chunked), len(counts) - counts.count(0)
    if n_present < n_expected:
        raise DecodeError(
            f"is an incomplete TIFF with {n_present:,} strips or tiles of data, where {n_expected:,} were expected"
        )


def check_streams(tiff: tifffile.TiffFile, key: tifffile.TiffPage, page: Page) -> None:
    """Check what the streams of a page announce, before any is decoded; `_EXPANSION` bounds the other compressions."""
    if key.compression in _EXPANSION:
        return
    if key.jpegheader is not None and page is key:  # of an NDPI, whose tiles are parts of a stream, decoded whole
        tiff.filehandle.seek(key.tags["StripOffsets"].value[0])
        check_stream(tiff.filehandle.read(2**16), key.imagelength, key.imagewidth)
    chunk = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        tiff.filehandle.seek(offset)
        check_stream(tiff.filehandle.read(min(count, 2**16)), *chunk)

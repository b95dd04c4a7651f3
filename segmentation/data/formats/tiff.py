"""TIFF: one plane, grey, RGB or palette, of any depth and compression; its pixel size from whichever metadata tell."""

import math
import operator
import struct

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from segmentation.data.formats.decoded import (
    DEFLATE_EXPANSION,
    Decoded,
    DecodeError,
    check_claim,
    one_line,
)
from segmentation.data.formats.pixel_size import tiff_pixel_size

_JPEG = frozenset({COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY})
# The most decoded bytes that one stored byte can stand for. An LZW code of 12 bits stands for at most 3,838 bytes.
_EXPANSION = {
    COMPRESSION.NONE: 1,
    COMPRESSION.PACKBITS: 64,
    COMPRESSION.LZW: 2_560,
    COMPRESSION.ADOBE_DEFLATE: DEFLATE_EXPANSION,
    COMPRESSION.DEFLATE: DEFLATE_EXPANSION,
}
# The other codecs have no such bound; Zstandard's runs of 128 KiB in four bytes go furthest in practice.
_EXPANSION_OF_OTHERS = 32_768

_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)

# tifffile passes over a tag that it cannot read and takes the default of the format, which gives another picture.
_ESSENTIAL_TAGS = {
    256: "ImageWidth",
    257: "ImageLength",
    258: "BitsPerSample",
    259: "Compression",
    262: "PhotometricInterpretation",
    277: "SamplesPerPixel",
    317: "Predictor",
}

_AXES = {"T": "time points", "Z": "planes in Z", "C": "channels", "S": "channels"}


def decode_tiff(stream):
    """Decode a TIFF that holds one plane.

    Pages marked as reduced copies (thumbnails) are passed over; the orientation tag is ignored. A palette is handed
    on, not applied.

    Parameters
    ----------
    stream : binary file
        At its beginning; only what is needed is read.

    Returns
    -------
    Decoded
        In the dtype of the file.

    Raises
    ------
    DecodeError
        Truncated, damaged, a stack, more channels than a colour has, in colours other than RGB, or a header that
        claims more than the data can hold.
    """
    try:
        with tifffile.TiffFile(stream) as tiff:
            return _decode_plane(tiff, _only_plane(tiff))
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # tifffile and its codecs answer damage with a dozen types
        raise DecodeError(
            f"is a TIFF that cannot be decoded ({one_line(error)}), where a complete and common one was expected"
        ) from error


def _only_plane(tiff):
    """Give the page that is the picture; refuse a file that holds several, saying what they are."""
    if not tiff.pages:
        raise DecodeError(
            f"is a truncated TIFF of {tiff.filehandle.size:,} bytes without a page, where a complete one was expected"
        )
    series = [entry for entry in tiff.series if not entry.keyframe.is_reduced] or list(tiff.series)
    if len(series) > 1:
        sizes = ", ".join(f"{entry.axes} {entry.shape}" for entry in series[:5])
        raise DecodeError(f"holds {len(series)} pictures ({sizes}), where one was expected")
    plane, page = series[0], series[0].keyframe
    if math.prod(plane.shape) != math.prod(page.shape) or page.axes not in ("YX", "YXS", "SYX"):
        raise DecodeError(
            f"holds {_what_it_holds(plane.axes, plane.shape)}, where one plane, grey or RGB, was expected"
        )
    _check_directory(tiff, page)
    return page


def _what_it_holds(axes, shape):
    counts = [
        f"{length} {_AXES.get(axis, 'pages')}"
        for axis, length in zip(axes, shape, strict=True)
        if axis not in "YX" and length > 1
    ]
    return f"{' x '.join(counts) or 'an unknown arrangement'} (axes {axes}, shape {tuple(shape)})"


def _check_directory(tiff, page):
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


def _decode_plane(tiff, page):
    _check_samples(page)
    _check_data(tiff, page)
    pixels = page.asarray()
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3:  # alpha comes last
        pixels = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., 0]
    palette = black = None
    if page.photometric == PHOTOMETRIC.PALETTE:
        palette = _palette(page)
        pixels = pixels.astype(np.uint16 if page.bitspersample > 8 else np.uint8)
    elif page.photometric == PHOTOMETRIC.MINISWHITE:
        black = _black(page, pixels)
    return Decoded(
        pixels, palette=palette, black=black, lossy=page.compression in _JPEG, pixel_size_um=tiff_pixel_size(tiff, page)
    )


def _check_samples(page):
    """Refuse values that are no numbers, channels that are not a colour, and colours other than RGB."""
    samples, photometric = page.samplesperpixel, page.photometric
    if page.dtype is None:
        raise DecodeError(
            f"stores pixels of {page.bitspersample} bits in sample format {page.sampleformat}, "
            "where integers or real numbers of 1 to 64 bits were expected"
        )
    if photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE):
        one_plane = samples == 1 or (samples == 2 and page.extrasamples[:1] and page.extrasamples[0] in _ALPHA)
    elif photometric == PHOTOMETRIC.RGB or (photometric == PHOTOMETRIC.YCBCR and page.compression in _JPEG):
        one_plane = samples in (3, 4)
    else:
        name = getattr(photometric, "name", photometric)
        raise DecodeError(f"stores its colours as {name}, where grey, RGB or a palette was expected")
    if not one_plane:
        raise DecodeError(f"holds {_what_it_holds(page.axes, page.shape)}, where one plane, grey or RGB, was expected")


def _check_data(tiff, page):
    """Hold the size that the page claims against its strips or tiles, and these against the file."""
    offsets, counts, file_size = page.dataoffsets, page.databytecounts, tiff.filehandle.size
    width, height = page.imagewidth, page.imagelength
    picture_bytes = height * ((width * page.samplesperpixel * page.bitspersample + 7) // 8)
    expansion = _EXPANSION.get(page.compression, _EXPANSION_OF_OTHERS)
    check_claim(width, height, picture_bytes, min(sum(counts), file_size), expansion)
    if page.is_tiled:  # of which one alone can claim more than the picture
        width, height = page.tilewidth, page.tilelength
        samples = 1 if page.axes == "SYX" else page.samplesperpixel
        tile_bytes = height * ((width * samples * page.bitspersample + 7) // 8)
        check_claim(width, height, tile_bytes, min(max(counts), file_size), expansion, unit="pixels a tile")

    expected_end = max(map(operator.add, offsets, counts))
    if expected_end > file_size:
        raise DecodeError(f"is a truncated TIFF of {file_size:,} bytes, where at least {expected_end:,} were expected")
    n_expected, n_present = math.prod(page.chunked), len(counts) - counts.count(0)
    if n_present < n_expected:
        raise DecodeError(
            f"is an incomplete TIFF with {n_present:,} strips or tiles of data, where {n_expected:,} were expected"
        )


def _palette(page):
    """Give the colour map as (N, 3) uint8; some programs fill its 16-bit entries with 8-bit values."""
    colours = page.colormap.T
    if page.dtype.kind not in "bu" or page.bitspersample > 16 or colours.shape != (2**page.bitspersample, 3):
        raise DecodeError(
            f"is a damaged TIFF with {page.dtype} pixels and a palette of shape {colours.shape}, "
            "where one entry (red, green, blue) for each possible value was expected"
        )
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _black(page, pixels):
    """Give the value that is black where 0 is white; where the type has no natural end, the largest value present."""
    if pixels.dtype == bool:
        return 255
    return 2**page.bitspersample - 1 if pixels.dtype.kind == "u" and page.bitspersample <= 16 else pixels.max()

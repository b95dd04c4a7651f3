"""What the samples of a page of a TIFF mean: which colours, which palette, which value is white."""

import cv2
import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from segmentation.data.colours import is_lookup_table
from segmentation.data.formats.decoded import DecodeError

JPEG = frozenset({COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY})

_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)


def is_grey_or_rgb(page: tifffile.TiffPage) -> bool:
    """Whether the samples are grey or RGB; refuse values that are no numbers, and colours other than RGB."""
    samples, photometric = page.samplesperpixel, page.photometric
    if page.dtype is None:
        raise DecodeError(
            f"stores pixels of {page.bitspersample} bits in sample format {page.sampleformat}, "
            "where integers or real numbers of 1 to 64 bits were expected"
        )
    if photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE):
        return samples == 1 or (samples == 2 and len(page.extrasamples) > 0 and page.extrasamples[0] in _ALPHA)
    has_colours = page.compression in JPEG or _components(page)[0]
    if photometric == PHOTOMETRIC.RGB or (photometric == PHOTOMETRIC.YCBCR and has_colours):
        return samples in (3, 4)
    name = getattr(photometric, "name", photometric)
    raise DecodeError(
        f"stores its colours as {name}, where grey, RGB or a palette was expected: save it as RGB in another program"
    )


def is_undone_ycbcr(page: tifffile.TiffPage) -> bool:
    """Whether the decoder leaves YCbCr as it is: Aperio's JPEG 2000 without subsampling, often tagged as RGB."""
    is_ycbcr, is_subsampled = _components(page)
    return is_ycbcr and not is_subsampled


def _components(page: tifffile.TiffPage) -> tuple[bool, bool]:
    """Return whether the components of Aperio's JPEG 2000 are YCbCr, and whether their colours are subsampled.

    They are not where the stream itself turns RGB into other components, which its decoder undoes.
    Source: https://openslide.org/formats/aperio/
    """
    if page.compression != COMPRESSION.APERIO_JP2000_YCBC or page.samplesperpixel != 3 or not page.dataoffsets:
        return False, False
    file = page.parent.filehandle
    file.seek(page.dataoffsets[0])
    stream = file.read(4096)
    style = stream.find(b"\xff\x52")  # the marker COD, whose ninth byte tells of a transform of the components
    if style < 0 or len(stream) < style + 9 or len(stream) < 48:
        return False, False
    return stream[style + 8] == 0, stream[46:48] != b"\1\1"


def rgb_of(pixels: np.ndarray) -> np.ndarray:
    """Convert YCbCr of the full range, (H, W, 3) uint8, to RGB."""
    return cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)


def palette_of(page: tifffile.TiffPage) -> np.ndarray:
    """Return the colour map as (N, 3) uint8; some programs fill its 16-bit entries with 8-bit values."""
    colours, dtype = np.asarray(page.colormap).T, np.dtype(page.dtype)
    if dtype.kind not in "bu" or page.bitspersample > 16 or colours.shape != (2**page.bitspersample, 3):
        raise DecodeError(
            f"is a damaged TIFF with {dtype} pixels and a palette of shape {colours.shape}, "
            "where one entry (red, green, blue) for each possible value was expected"
        )
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def is_white_zero(page: tifffile.TiffPage) -> bool:
    """Whether 0 is white; not in ImageJ's files, in which that only is a lookup table: it measures what is stored."""
    return page.photometric == PHOTOMETRIC.MINISWHITE and not page.parent.is_imagej


def can_project(page: tifffile.TiffPage) -> bool:
    """Whether the samples of a stack are intensities, also through a lookup table, whose greatest is the brightest."""
    has_colours = page.photometric == PHOTOMETRIC.PALETTE and not is_lookup_table(palette_of(page))
    return not has_colours and not is_white_zero(page)


def has_natural_white(page: tifffile.TiffPage) -> bool:
    """Whether the type of the pixels says which value is the opposite of 0."""
    return page.dtype == bool or (np.dtype(page.dtype).kind == "u" and page.bitspersample <= 16)


def black_of(page: tifffile.TiffPage, pixels: np.ndarray) -> np.ndarray:
    """Return the value that is black where 0 is white; without a natural one, the largest in each channel."""
    if has_natural_white(page):
        return np.array(255 if page.dtype == bool else 2**page.bitspersample - 1)
    return pixels.max(axis=(0, 1))

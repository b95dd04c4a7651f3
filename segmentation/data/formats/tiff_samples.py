"""What the samples of a page of a TIFF mean: which colours, which palette, which value is white."""

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

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
    if photometric == PHOTOMETRIC.RGB or (photometric == PHOTOMETRIC.YCBCR and page.compression in JPEG):
        return samples in (3, 4)
    name = getattr(photometric, "name", photometric)
    raise DecodeError(f"stores its colours as {name}, where grey, RGB or a palette was expected")


def palette_of(page: tifffile.TiffPage) -> np.ndarray:
    """Return the colour map as (N, 3) uint8; some programs fill its 16-bit entries with 8-bit values."""
    colours, dtype = np.asarray(page.colormap).T, np.dtype(page.dtype)
    if dtype.kind not in "bu" or page.bitspersample > 16 or colours.shape != (2**page.bitspersample, 3):
        raise DecodeError(
            f"is a damaged TIFF with {dtype} pixels and a palette of shape {colours.shape}, "
            "where one entry (red, green, blue) for each possible value was expected"
        )
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def has_natural_white(page: tifffile.TiffPage) -> bool:
    """Whether the type of the pixels says which value is the opposite of 0."""
    return page.dtype == bool or (np.dtype(page.dtype).kind == "u" and page.bitspersample <= 16)


def black_of(page: tifffile.TiffPage, pixels: np.ndarray) -> np.ndarray:
    """Return the value that is black where 0 is white; without a natural one, the largest in each channel."""
    if has_natural_white(page):
        return np.array(255 if page.dtype == bool else 2**page.bitspersample - 1)
    return pixels.max(axis=(0, 1))

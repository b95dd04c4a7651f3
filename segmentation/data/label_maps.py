"""Label maps and masks, read from pictures and from arrays of NumPy."""

import cv2
import numpy as np

from segmentation.data.formats.decoded import Decoded, DecodeError, Undecided
from segmentation.data.images import ImageError, Readable, check_range, decode, expand, is_grey

# JPEG blurs the steps between 0 and 255. Of a mask saved at a quality of 50 or more, less than 0.01 of the foreground
# is then nearer to the middle than to either; of one that was resized or smoothed before, at least 0.08.
MOST_BETWEEN = 0.03


def read_label_map(file: Readable) -> np.ndarray:
    """Read one label map or mask: the numbers as stored, 0 being background.

    Of a picture with a palette of colours, as labelling programs write it, the indices are the labels; with a palette
    of grey levels, these levels are. A colour palette that shows black at an index other than 0 is refused: its
    background is unclear. Of a picture in colours each colour is a label, and black is the background. A mask of 0 and
    255 in JPEG compression is read as what it was before; other numbers do not survive JPEG and are refused.

    Numbers are never inverted (MinIsWhite in TIFF is only a way of showing them). bool becomes 0/255; grey PNG of less
    than 8 bits is spread over 0..255. Colour with equal channels counts as grey; alpha is dropped.

    Returns
    -------
    ndarray of shape (H, W) and dtype uint8, uint16 or uint32
        Non-negative signed integers become unsigned ones of the same size; floats that are whole numbers, 64-bit
        integers, and the labels of colours, become uint32.

    Raises
    ------
    ImageError
        As `read_image`, and if the file is in colour without black, has its shapes in the alpha channel alone, is in
        JPEG compression and no mask of 0 and 255, or holds numbers that are negative, fractional or above
        4,294,967,295.
    """
    try:
        decoded = decode(file)
        pixels = _labels_of_colours(decoded)
        if decoded.lossy:
            pixels = _before_jpeg(pixels)
        pixels = np.ascontiguousarray(_as_label_dtype(pixels))
        if pixels.min() == pixels.max() and _has_shapes_in_alpha(file.read_bytes()):
            raise DecodeError(
                "has one value everywhere and shapes in its alpha channel alone, where they were expected in the values"
            )
        return pixels
    except Undecided as error:
        raise ImageError(f"{file} {error.alone}") from error
    except DecodeError as error:
        raise ImageError(f"{file} {error}") from error


def _labels_of_colours(decoded: Decoded) -> np.ndarray:
    """Return the numbers of a picture, (H, W): as stored, or one for each index or colour; JPEG in colours as it is."""
    pixels = decoded.pixels
    if decoded.palette is not None:
        pixels = _labels_of_palette(pixels, decoded.palette)
    if pixels.ndim == 2:
        return pixels
    if is_grey(pixels):
        return pixels[..., 0]
    if decoded.lossy:
        return pixels
    if pixels.dtype.kind not in "bui" or pixels.dtype.itemsize > 2:
        raise DecodeError("is a colour picture, where a mask or label map of one channel was expected")
    if pixels.any(axis=-1).all():
        raise DecodeError(
            "is a colour picture without black, where a mask or label map of one channel was expected, "
            "or each nucleus in a colour of its own on black"
        )
    red, green, blue = np.moveaxis(pixels.astype(np.uint64), -1, 0)
    _, labels = np.unique(red << np.uint64(32) | green << np.uint64(16) | blue, return_inverse=True)
    return labels.reshape(pixels.shape[:2])  # 0 for black, the lowest


def _labels_of_palette(indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
    if is_grey(palette):
        return expand(indices, palette)
    used = np.flatnonzero(np.bincount(indices.ravel()))
    black = [int(index) for index in used if index < len(palette) and not palette[index].any()]
    if black and 0 not in black:
        raise DecodeError(
            f"is a picture with a colour palette whose black is entry {black[0]}, "
            "where black at entry 0, for the background, was expected"
        )
    return indices


def _before_jpeg(pixels: np.ndarray) -> np.ndarray:
    """Return a mask of 0 and 255 as it was before JPEG compression, (H, W) bool."""
    is_foreground = pixels >= 128
    between = np.count_nonzero((pixels >= 64) & (pixels < 192))
    is_mask = pixels.ndim == 2 and pixels.dtype == np.uint8 and (pixels.max() >= 192 or not pixels.any())
    if not is_mask or between > MOST_BETWEEN * np.count_nonzero(is_foreground):
        raise DecodeError(
            "is in JPEG compression, which changes labels, where PNG, BMP or TIFF was expected, or a mask of 0 and 255"
        )
    return is_foreground


def _has_shapes_in_alpha(content: bytes) -> bool:
    """Whether the alpha channel, which no label map needs, says more than one value."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it prints names no file
    try:
        stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    return stored is not None and stored.ndim == 3 and stored.shape[-1] == 4 and bool(np.ptp(stored[..., 3]))


def _as_label_dtype(pixels: np.ndarray) -> np.ndarray:
    dtype = pixels.dtype
    if dtype.kind == "b":
        return pixels.astype(np.uint8) * 255
    if dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NaN
            fractional = np.count_nonzero(pixels != np.floor(pixels)) + np.count_nonzero(np.isinf(pixels))
        if fractional:
            raise DecodeError(
                f"holds {fractional:,} {dtype.name} values that are not whole numbers, where labels were expected"
            )
    check_range(pixels, 4_294_967_295, "labels from 0 to 4294967295 were")
    return pixels.astype(f"u{dtype.itemsize}" if dtype.kind in "iu" and dtype.itemsize < 4 else np.uint32, copy=False)

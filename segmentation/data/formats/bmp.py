"""BMP: uncompressed, with a palette (1, 4 or 8 bits a pixel) or colours of 24 or 32 bits.

No library serves here: Pillow 13 gives wrong pixels for masks of 8 bits with a palette of black and white, and OpenCV
and imagecodecs apply palettes, whose indices are the labels of a label map.
"""

import struct

import numpy as np

from segmentation.data.formats.decoded import Decoded, DecodeError, check_claim
from segmentation.data.formats.pixel_size import size_from_density

# Of the header versions in use, OS/2's first (12 bytes) has sizes of 16 bits and three bytes a palette entry.
_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})
_DEPTHS = (1, 4, 8, 24, 32)  # bits a pixel
_BGR_MASKS = struct.pack("<III", 0xFF0000, 0x00FF00, 0x0000FF)


def is_bmp(data: bytes) -> bool:
    """Tell a BMP, or a DIB, from a text that happens to begin with the two letters."""
    return (data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _HEADER_SIZES) or _is_bare(data)


def _is_bare(data: bytes) -> bool:
    """Tell a DIB: a BMP without the 14 bytes before its header."""
    size, planes, bits = struct.unpack_from("<I8xHH", data.ljust(16, b"\0"))
    return size in _HEADER_SIZES - {12} and planes == 1 and bits in _DEPTHS


def decode_bmp(data: bytes) -> Decoded:
    """Decode a whole BMP file to uint8: palette indices or RGB; the fourth byte of 32-bit pixels is dropped.

    Raises
    ------
    DecodeError
        The file is truncated, of another variant than those above, or its header claims more than the data can hold.
    """
    if _is_bare(data):
        size, bits, compression, n_colours = struct.unpack_from("<I10xHI12xI", data.ljust(36, b"\0"))
        palette = 4 * min(n_colours or 256, 2**bits) if bits <= 8 else 12 * (compression == 3 and size == 40)
        data = struct.pack("<2s8xI", b"BM", 14 + size + palette) + data
    start, header_size = (int.from_bytes(data[first : first + 4], "little") for first in (10, 14))
    if len(data) < 14 + header_size:
        raise DecodeError(f"is a truncated BMP of {len(data):,} bytes, where a complete header was expected")
    compression = n_colours = per_metre_x = per_metre_y = 0
    if header_size == 12:
        width, height, bits = struct.unpack_from("<HHxxH", data, 18)
    else:
        width, height, bits, compression, per_metre_x, per_metre_y, n_colours = struct.unpack_from(
            "<iixxHI4xiiI", data, 18
        )
    is_bgr = compression == 0 or (compression == 3 and bits == 32 and data[54:66] == _BGR_MASKS)
    if bits not in _DEPTHS or not is_bgr:
        raise DecodeError(
            f"is a BMP of {bits} bits a pixel with compression {compression}, "
            "where an uncompressed one of 1, 4, 8, 24 or 32 bits was expected"
        )
    order, height = 1 if height < 0 else -1, abs(height)
    stride = (width * bits + 31) // 32 * 4
    check_claim(width, height, stride * height, max(0, len(data) - start), 1)
    rows = np.frombuffer(data, np.uint8, stride * height, start).reshape(height, stride)[::order].copy()

    pixel_size = size_from_density(per_metre_x, per_metre_y)
    if bits >= 24:
        pixels = rows[:, : width * bits // 8].reshape(height, width, bits // 8)[..., 2::-1]
        return Decoded(pixels, pixel_size_um=pixel_size)
    if bits == 1:
        rows = np.unpackbits(rows, axis=1)
    elif bits == 4:
        rows = np.stack([rows >> 4, rows & 15], axis=2).reshape(height, -1)
    entry = 3 if header_size == 12 else 4
    colours = data[14 + header_size :][: min(n_colours or 256, 2**bits) * entry]
    palette = np.frombuffer(colours, np.uint8, len(colours) // entry * entry).reshape(-1, entry)[:, 2::-1]
    return Decoded(rows[:, :width], palette=palette, pixel_size_um=pixel_size)

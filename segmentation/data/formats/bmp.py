"""BMP: uncompressed, with a palette (1, 4 or 8 bits a pixel) or colours of 24 or 32 bits."""

import struct

import numpy as np

from segmentation.data.formats.decoded import Decoded, DecodeError, check_claim
from segmentation.data.formats.pixel_size import square_pixel_size

SIGNATURE = b"BM"
# Of the header versions in use, OS/2's first (12 bytes) has 16-bit sizes and three bytes a palette entry.
HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})

_FILE_HEADER = 14
_UNCOMPRESSED, _BITFIELDS = 0, 3
_BGR_MASKS = (0xFF0000, 0x00FF00, 0x0000FF)


def is_bmp(data):
    """Tell a BMP from a text that happens to begin with its two letters."""
    return data[:2] == SIGNATURE and int.from_bytes(data[14:18], "little") in HEADER_SIZES


def decode_bmp(data):
    """Decode a BMP.

    A fourth byte of 32-bit pixels is dropped: only some programs mean alpha by it. A palette is handed on, not applied.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Decoded
        uint8.

    Raises
    ------
    DecodeError
        Truncated, of a variant other than those above, or a header that claims more than the data can hold.
    """
    header_size = int.from_bytes(data[14:18], "little")
    if len(data) < _FILE_HEADER + header_size:
        raise DecodeError(f"is a truncated BMP of {len(data):,} bytes, where a complete header was expected")
    pixels_start = int.from_bytes(data[10:14], "little")
    n_colours, pixel_size_um = 0, None
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = _UNCOMPRESSED
    else:
        width, height, _, bits, compression, _, per_metre_x, per_metre_y, n_colours = struct.unpack_from(
            "<iiHHIIiiI", data, 18
        )
        if per_metre_x > 0 and per_metre_y > 0:
            pixel_size_um = square_pixel_size(1e6 / per_metre_x, 1e6 / per_metre_y)
    _check_variant(data, bits, compression)

    top_down, height = height < 0, abs(height)
    stride = (width * bits + 31) // 32 * 4
    check_claim(width, height, stride * height, max(0, len(data) - pixels_start), 1)
    rows = np.frombuffer(data, np.uint8, stride * height, pixels_start).reshape(height, stride).copy()
    if not top_down:
        rows = rows[::-1]

    if bits >= 24:
        samples = bits // 8
        pixels = rows[:, : width * samples].reshape(height, width, samples)[..., 2::-1]
        return Decoded(pixels, pixel_size_um=pixel_size_um)
    entry = 3 if header_size == 12 else 4
    n_colours = min(n_colours or 2**bits, 2**bits)
    colours = data[_FILE_HEADER + header_size :][: n_colours * entry]
    palette = np.frombuffer(colours, np.uint8, len(colours) // entry * entry).reshape(-1, entry)[:, 2::-1]
    return Decoded(_unpack(rows, bits)[:, :width], palette=palette, pixel_size_um=pixel_size_um)


def _check_variant(data, bits, compression):
    if compression == _BITFIELDS and bits == 32 and struct.unpack("<III", data[54:66].ljust(12, b"\0")) == _BGR_MASKS:
        return
    if compression != _UNCOMPRESSED or bits not in (1, 4, 8, 24, 32):
        raise DecodeError(
            f"is a BMP of {bits} bits a pixel with compression {compression}, "
            "where an uncompressed one of 1, 4, 8, 24 or 32 bits was expected"
        )


def _unpack(rows, bits):
    """Give each pixel a byte: (H, stride) uint8 -> (H, stride * 8 / bits) uint8, the leftmost pixel in the top bits."""
    if bits == 8:
        return rows
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return (rows[..., None] >> shifts & (2**bits - 1)).reshape(len(rows), -1)

"""JPEG: grey, RGB or CMYK, of 8 to 16 bits, turned to RGB but not rotated (the EXIF orientation is ignored)."""

import re
import struct

import imagecodecs
import numpy as np

from segmentation.data.formats.decoded import Decoded, DecodeError, check_claim, one_line

SIGNATURE = b"\xff\xd8\xff"

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# C4, C8 and CC lie among the frame headers but are tables and a reserved marker.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Ends the entropy-coded data: FF 00 is a stuffed byte, D0..D7 are restart markers, and FF FF is padding.
_MARKER_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# A block of 8 x 8 samples takes at least one bit.
_EXPANSION = 8 * 64


def decode_jpeg(data: bytes) -> Decoded:
    """Decode a whole JPEG file to uint8, or uint16 above 8 bits.

    An incomplete file is refused: libjpeg fills the missing part with grey. Pillow refuses such files too, but reads
    8 bits only. Damage inside the image data cannot be told from image data: the format has no checksums.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, or its header claims more than the data can hold.
    """
    height, width, components = _frame(data)
    if components not in (1, 3, 4):
        raise DecodeError(f"is a JPEG of {components} components, where grey, RGB or CMYK was expected")
    check_claim(width, height, width * height, len(data), _EXPANSION)
    try:
        pixels = imagecodecs.jpeg8_decode(data)
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"is a damaged JPEG ({one_line(error)}), where a complete one was expected") from error
    if components == 4 and pixels.dtype != np.uint8:
        raise DecodeError("is a JPEG in inks (CMYK) of more than 8 bits, where 8 were expected")
    if components == 4:  # inks, stored inverted, as all programs have done since Photoshop: 0 is the full ink
        pixels = ((pixels[..., :3].astype(np.uint16) * pixels[..., 3:] + 127) // 255).astype(np.uint8)
    return Decoded(pixels, lossy=True)


def _frame(data: bytes) -> tuple[int, int, int]:
    """Follow the markers to the end of the image; return the height, width and components that the frame announces."""
    frame, position = None, 2
    while data[position : position + 1] == b"\xff" and position + 1 < len(data):
        marker, content = data[position + 1], data[position + 4 : position + 10]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker == _END_OF_IMAGE and frame is not None:
            return frame
        if marker in _START_OF_FRAME and len(content) == 6:
            frame = struct.unpack(">xHHB", content)
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == _START_OF_SCAN:
            found = _MARKER_AFTER_SCAN.search(data, position)
            position = found.start() if found else len(data)
    raise DecodeError(
        f"is a truncated or damaged JPEG ({len(data):,} bytes without an end-of-image marker), "
        "where a complete one was expected"
    )

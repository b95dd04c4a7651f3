"""JPEG: grey or RGB, of 8 to 16 bits, turned to RGB but not rotated (the EXIF orientation is ignored)."""

import re

import imagecodecs

from segmentation.data.formats.decoded import Decoded, DecodeError, check_claim, one_line

SIGNATURE = b"\xff\xd8\xff"

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# C4, C8 and CC lie among the frame headers but are tables and a reserved marker.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Ends the entropy-coded data: FF 00 is a stuffed byte, D0..D7 are restart markers, and FF FF is padding.
_MARKER_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# A block of 8 x 8 samples takes at least one bit.
_EXPANSION = 8 * 64


def decode_jpeg(data):
    """Decode a JPEG; refuse an incomplete one, of which decoders would quietly fill the rest with grey.

    Damage inside the image data cannot be told from image data: the format has no checksums.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Decoded
        uint8, or uint16 above 8 bits.

    Raises
    ------
    DecodeError
        Truncated, damaged, in inks (CMYK) or other numbers of components, or a header that claims more than the data
        can hold.
    """
    height, width, components = _frame(data)
    if components not in (1, 3):
        kind = "4 components (CMYK)" if components == 4 else f"{components} components"
        raise DecodeError(f"is a JPEG of {kind}, where grey or RGB was expected")
    check_claim(width, height, width * height, len(data), _EXPANSION)
    try:
        pixels = imagecodecs.jpeg8_decode(data)
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"is a damaged JPEG ({one_line(error)}), where a complete one was expected") from error
    return Decoded(pixels, lossy=True)


def _frame(data):
    """Follow the markers to the end of the image; give the height, width and components that the frame announces."""
    frame = None
    position = 2
    while True:
        marker = data[position + 1 : position + 2]
        if data[position : position + 1] != b"\xff" or not marker:
            break
        if marker == b"\xff":  # padding
            position += 1
            continue
        if marker[0] == _END_OF_IMAGE and frame is not None:
            return frame
        content = data[position + 4 : position + 10]
        if marker[0] in _START_OF_FRAME and len(content) == 6:
            frame = int.from_bytes(content[1:3]), int.from_bytes(content[3:5]), content[5]
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker[0] == _START_OF_SCAN:
            found = _MARKER_AFTER_SCAN.search(data, position)
            position = found.start() if found else len(data)
    raise DecodeError(
        f"is a truncated or damaged JPEG ({len(data):,} bytes without an end-of-image marker), "
        "where a complete one was expected"
    )

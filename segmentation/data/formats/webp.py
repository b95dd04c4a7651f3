"""WebP: one picture, RGB."""

import imagecodecs

from segmentation.data.formats.decoded import EXPANSION_OF_CODECS, Decoded, DecodeError, check_claim, one_line
from segmentation.data.formats.streams import announced_size

_LOSSY, _LOSSLESS, _EXTENDED = b"VP8 ", b"VP8L", b"VP8X"
_ANIMATED = 2  # among the flags of the extended form


def is_webp(start: bytes) -> bool:
    """Tell a WebP from the other files in RIFF."""
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def decode_webp(data: bytes) -> Decoded:
    """Decode a whole WebP to uint8, (H, W, 3); alpha is dropped.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, an animation, or its header claims more than the data can hold.
    """
    expected, kind = 8 + int.from_bytes(data[4:8], "little"), data[12:16]
    if len(data) < max(expected, 30):
        raise DecodeError(f"is a truncated WebP of {len(data):,} bytes, where at least {expected:,} were expected")
    if kind == _EXTENDED and data[20] & _ANIMATED:
        raise DecodeError("holds an animation, where one picture was expected")
    if kind not in (_LOSSY, _LOSSLESS, _EXTENDED):
        raise DecodeError(f"is a damaged WebP that begins with the chunk {kind!r}, where a complete one was expected")
    height, width = announced_size(data) or (0, 0)
    check_claim(width, height, 4 * width * height, len(data), EXPANSION_OF_CODECS)
    try:
        pixels = imagecodecs.webp_decode(data)
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"is a damaged WebP ({one_line(error)}), where a complete one was expected") from error
    return Decoded(pixels[..., :3], lossy=_LOSSLESS not in (kind, *_chunks(data)))


def _chunks(data: bytes) -> list[bytes]:
    """Return the names of the chunks."""
    names, position = [], 12
    while position + 8 <= len(data):
        names.append(data[position : position + 4])
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return names

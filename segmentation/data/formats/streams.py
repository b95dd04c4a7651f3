"""The size that a compressed stream inside a TIFF announces, read before it is decoded."""

import struct

from segmentation.data.formats.decoded import DecodeError

_PNG, _JPEG, _JPEG_2000 = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\x4f\xff\x51"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_stream(data: bytes, height: int, width: int) -> None:
    """Refuse the stream of a strip or tile that announces many more pixels than the `height` x `width` of the tile.

    Strips at the end may be larger than what is left of the picture, and JPEG comes in whole blocks.

    Raises
    ------
    DecodeError
    """
    announced = announced_size(data)
    if announced is not None and announced[0] * announced[1] > 4 * height * width + 2**20:
        raise DecodeError(
            f"holds a strip or tile of {announced[1]:,} x {announced[0]:,} pixels, where {width:,} x {height:,} were "
            "expected: it is damaged or not what it claims to be"
        )


def announced_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width that a PNG, JPEG or JPEG 2000 stream announces; None for any other stream.

    Examples
    --------
    >>> announced_size(bytes.fromhex("ffd8ffc0000b080010002001012200"))
    (16, 32)
    """
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    if data.startswith(_JPEG):
        position = 2
        while position + 9 <= len(data) and data[position] == 0xFF:
            if data[position + 1] in _JPEG_FRAMES:
                return struct.unpack_from(">HH", data, position + 5)
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
        return None
    start = data.find(_JPEG_2000, 0, 4096)  # JP2 has boxes before it
    if start >= 0 and len(data) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
        return max(bottom - top, 0), max(right - left, 0)
    return None

"""The size that a compressed stream inside a TIFF announces, read before it is decoded."""

import struct
from collections.abc import Callable

from segmentation.data.formats.decoded import DecodeError

_JPEG_2000, _JPEG_XL = b"\xff\x4f\xff\x51", b"\xff\x0a"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_stream(data: bytes, height: int, width: int) -> None:
    """Refuse the stream of a strip or tile that announces many more pixels than the `height` x `width` of the tile.

    Strips at the end may be larger than what is left of the picture, and JPEG comes in whole blocks.

    Raises
    ------
    DecodeError
    """
    check_colours(data)
    announced = announced_size(data)
    if announced is not None and announced[0] * announced[1] > 4 * height * width + 2**20:
        raise DecodeError(
            f"holds a strip or tile of {announced[1]:,} x {announced[0]:,} pixels, where {width:,} x {height:,} were "
            "expected: it is damaged or not what it claims to be"
        )


def check_colours(data: bytes) -> None:
    """Refuse JPEG 2000 whose colours are stored more coarsely than in steps of 2, or red more coarsely than the rest.

    OpenJPEG has no conversion for them, prints that, and gives other colours.

    Raises
    ------
    DecodeError
    """
    start = data.find(_JPEG_2000, 0, 4096)
    if start < 0 or len(data) < start + 51 or struct.unpack_from(">H", data, start + 40)[0] < 3:
        return
    first, *others = (tuple(data[place + 1 : place + 3]) for place in range(start + 42, start + 51, 3))
    if first != (1, 1) or others[0] != others[1] or others[0] not in ((1, 1), (2, 1), (2, 2)):
        steps = ", ".join(f"{across} x {down}" for across, down in (first, *others))
        raise DecodeError(f"is JPEG 2000 with samples every {steps} pixels, where 1 x 1, 2 x 1 or 2 x 2 was expected")


def announced_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width that a stream announces whose codec has a header of its own; None for any other.

    PNG, JPEG, JPEG 2000, JPEG XL, JPEG XR, WebP and LERC have one. Other codecs are given the size that they may fill.

    Examples
    --------
    >>> announced_size(bytes.fromhex("ffd8ffc0000b080010002001012200"))
    (16, 32)
    """
    for signature, read in _HEADERS.items():
        start = data.find(signature, 0, 4096)  # JPEG 2000 and JPEG XL may have boxes before it
        if start == 0 or (start > 0 and signature in (_JPEG_2000, _JPEG_XL) and data[4:8] in (b"jP  ", b"JXL ")):
            try:
                return read(data[start:])
            except struct.error:  # the header is incomplete
                return None
    return None


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _jpeg(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        if data[position + 1] in _JPEG_FRAMES:
            return struct.unpack_from(">HH", data, position + 5)
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return None


def _jpeg_2000(data: bytes) -> tuple[int, int]:
    right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
    return max(bottom - top, 0), max(right - left, 0)


def _jpeg_xl(data: bytes) -> tuple[int, int]:
    """Read the SizeHeader (ISO/IEC 18181-1), whose bits begin with the lowest."""
    low, high = struct.unpack_from("<QB", data, 2)
    bits = high << 64 | low

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def length(in_eights: int) -> int:
        return (take(5) + 1) * 8 if in_eights else take((9, 13, 18, 30)[take(2)]) + 1

    in_eights = take(1)
    height = length(in_eights)
    ratio = take(3)
    if not ratio:
        return height, length(in_eights)
    numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height, height * numerator // denominator


def _jpeg_xr(data: bytes) -> tuple[int, int]:
    """Read the two tags of the picture's size (ITU-T T.832, annex A)."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = dict(struct.unpack_from("<H6xI", data, start + 2 + 12 * index) for index in range(count))
    return entries.get(0xBC81, 0), entries.get(0xBC80, 0)


def _webp(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        width, high_width, height, high_height = struct.unpack_from("<HBHB", data, 24)
        return (high_height << 16 | height) + 1, (high_width << 16 | width) + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return height & 0x3FFF, width & 0x3FFF


def _lerc(data: bytes) -> tuple[int, int]:
    height, width, samples = struct.unpack_from("<III", data, 14)
    return height * samples, width


_HEADERS: dict[bytes, Callable[[bytes], tuple[int, int] | None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    _JPEG_2000: _jpeg_2000,
    _JPEG_XL: _jpeg_xl,
    b"II\xbc": _jpeg_xr,
    b"RIFF": _webp,
    b"Lerc2 ": _lerc,
}

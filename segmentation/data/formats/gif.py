"""GIF: one picture of up to 256 colours."""

import imagecodecs
import numpy as np

from segmentation.data.colours import is_lookup_table
from segmentation.data.formats.decoded import Decoded, DecodeError, check_claim, one_line

SIGNATURES = (b"GIF87a", b"GIF89a")

# A code of at most 12 bits stands for at most 4,096 pixels.
_EXPANSION = 2_731
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B


def decode_gif(data: bytes) -> Decoded:
    """Decode a whole GIF to uint8: (H, W, 3), black where it is transparent; the indices, (H, W), of a lookup table.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, an animation, or its header claims more than the data can hold.
    """
    n_frames = _count_frames(data)
    if n_frames != 1:
        raise DecodeError(f"holds an animation of {n_frames} frames, where one picture was expected")
    width, height = (int.from_bytes(data[first : first + 2], "little") for first in (6, 8))
    check_claim(width, height, width * height, len(data), _EXPANSION)
    try:
        pixels = imagecodecs.gif_decode(data, index=0)
        indices = imagecodecs.gif_decode(data, index=0, asrgb=False)
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"is a damaged GIF ({one_line(error)}), where a complete one was expected") from error
    pixels = pixels[..., :3]
    palette = np.frombuffer(data[13 : 13 + _colours(data, 10)], np.uint8).reshape(-1, 3)
    is_shown = is_lookup_table(palette) and np.array_equal(palette[indices], pixels)
    return Decoded(indices if is_shown else pixels)


def _count_frames(data: bytes) -> int:
    """Follow the blocks to the end of the file and count the pictures."""
    position = 13 + _colours(data, 10)
    count = 0
    while position < len(data) and data[position] != _END:
        if data[position] == _IMAGE:
            count += 1
            position += 10 + _colours(data, position + 9) + 1  # the last byte is the size of the first code
        elif data[position] == _EXTENSION:
            position += 2
        else:
            break
        while position < len(data) and data[position]:
            position += data[position] + 1
        position += 1
    if data[position : position + 1] != bytes([_END]):
        raise DecodeError(
            f"is a truncated or damaged GIF ({len(data):,} bytes without an end), where a complete one was expected"
        )
    return count


def _colours(data: bytes, flags: int) -> int:
    """Return the bytes of the table of colours that a byte of flags announces."""
    found = data[flags] if flags < len(data) else 0
    return 3 << (found % 8 + 1) if found & 0x80 else 0

"""JPEG 2000: grey or RGB, as a file (JP2) or as a bare code stream."""

import imagecodecs

from segmentation.data.formats.decoded import EXPANSION_OF_CODECS, Decoded, DecodeError, check_claim, one_line
from segmentation.data.formats.streams import announced_size, check_colours

SIGNATURES = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_END = b"\xff\xd9"  # occurs nowhere in the data before it


def decode_jpeg2000(data: bytes) -> Decoded:
    """Decode a whole JPEG 2000 file in the depth that it has.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, of other components than grey or RGB, or claims more than the data can hold.
    """
    size = announced_size(data)
    if size is None or _END not in data:
        raise DecodeError(
            f"is a truncated or damaged JPEG 2000 file of {len(data):,} bytes, where a complete one was expected"
        )
    height, width = size
    check_claim(width, height, height * width, len(data), EXPANSION_OF_CODECS)
    check_colours(data)
    try:
        pixels = imagecodecs.jpeg2k_decode(data)
    except (RuntimeError, ValueError) as error:
        raise DecodeError(
            f"is a damaged JPEG 2000 file ({one_line(error)}), where a complete one was expected"
        ) from error
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        raise DecodeError(f"is a JPEG 2000 file of {pixels.shape[-1]} components, where grey or RGB was expected")
    return Decoded(pixels, lossy=True)

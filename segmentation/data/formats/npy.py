"""NumPy's arrays on disk: one picture, grey (H, W) or RGB (H, W, 3)."""

import io
import math
import tokenize

import numpy as np

from segmentation.data.formats.decoded import Decoded, DecodeError, check_claim, one_line

SIGNATURE = b"\x93NUMPY"


def decode_npy(data: bytes) -> Decoded:
    """Decode a whole .npy file; objects, which could run code, are never loaded.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, holds objects, or an array of another shape than (H, W) and (H, W, 3), not
        counting axes of length 1.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read_header(stream)
    # The header is Python source, so damage shows as any error of Python's parser.
    except (ValueError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise DecodeError(f"is a damaged .npy file ({one_line(error)}), where a complete one was expected") from error
    if dtype.hasobject:
        raise DecodeError(
            "holds Python objects, as Cellpose's _seg.npy does, which may run code when they are read, where an array "
            "of numbers was expected: save its masks as TIFF or PNG"
        )
    if len(shape) > 2 and shape[-1] != 3:
        shape = tuple(length for length in shape if length != 1)
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
        raise DecodeError(f"holds an array of shape {shape}, where (height, width) or (height, width, 3) was expected")
    check_claim(shape[1], shape[0], math.prod(shape) * dtype.itemsize, len(data) - stream.tell(), 1)
    pixels = np.frombuffer(data, dtype, math.prod(shape), stream.tell())
    pixels = pixels.reshape(shape, order="F" if by_columns else "C").copy()
    return Decoded(pixels.astype(dtype.newbyteorder("="), copy=False))

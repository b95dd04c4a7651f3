"""NumPy's arrays on disk: one picture, grey (H, W) or RGB (H, W, 3)."""

import io
import math

import numpy as np

from segmentation.data.formats.decoded import Decoded, DecodeError, check_claim, one_line

SIGNATURE = b"\x93NUMPY"


def decode_npy(data: bytes) -> Decoded:
    """Decode a whole .npy file; objects, which could run code, are never loaded.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, holds objects, or an array of another shape than (H, W), (H, W, 1) or (H, W, 3).
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read_header(stream)
    except (ValueError, EOFError, SyntaxError) as error:
        raise DecodeError(f"is a damaged .npy file ({one_line(error)}), where a complete one was expected") from error
    if dtype.hasobject:
        raise DecodeError("holds Python objects, as Cellpose's _seg.npy do, where an array of numbers was expected")
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)):
        raise DecodeError(f"holds an array of shape {shape}, where (height, width) or (height, width, 3) was expected")
    check_claim(shape[1], shape[0], math.prod(shape) * dtype.itemsize, len(data) - stream.tell(), 1)
    pixels = np.frombuffer(data, dtype, math.prod(shape), stream.tell())
    pixels = pixels.reshape(shape, order="F" if by_columns else "C").copy()
    return Decoded(pixels[..., 0] if shape[2:] == (1,) else pixels)

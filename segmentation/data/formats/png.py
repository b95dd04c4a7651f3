"""PNG: 1 to 16 bits; grey, RGB, palette, with or without alpha; every one at the depth it is stored in."""

import struct
import zlib

import imagecodecs
import numpy as np

from segmentation.data.formats.decoded import (
    DEFLATE_EXPANSION,
    Decoded,
    DecodeError,
    check_claim,
    one_line,
)
from segmentation.data.formats.pixel_size import square_pixel_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY, _PALETTE = 0, 3
# Samples a pixel and depths of each colour type, as the format allows them.
_COLOUR_TYPES = {
    _GREY: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    _PALETTE: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
_CRITICAL = (b"IHDR", b"PLTE", b"IEND")
_CHUNK_OVERHEAD = 12  # length, name, checksum: four bytes each
_METRE = 1


def decode_png(data):
    """Decode a PNG at the depth it is stored in.

    Grey of 1, 2 or 4 bits is spread over 0..255, as the format prescribes; gamma and colour profile are not applied.
    A palette is handed on, not applied.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Decoded
        uint8 or uint16.

    Raises
    ------
    DecodeError
        Truncated, damaged, an animation, or a header that claims more than the data can hold.
    """
    chunks, image_data = _chunks(data)
    width, height, bits, colour_type = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    samples, depths = _COLOUR_TYPES.get(colour_type, (0, ()))
    if bits not in depths:
        raise DecodeError(
            f"is a damaged PNG (colour type {colour_type} of {bits} bits), where a valid one was expected"
        )
    image_bytes = sum(end - start - _CHUNK_OVERHEAD for start, end in image_data)
    check_claim(width, height, height * ((width * bits * samples + 7) // 8), image_bytes, DEFLATE_EXPANSION)
    n_frames = int.from_bytes(chunks.get(b"acTL", b"")[:4])
    if n_frames > 1:
        raise DecodeError(f"holds an animation of {n_frames} frames, where one picture was expected")

    palette = None
    if colour_type == _PALETTE:
        palette = _palette(chunks)
        data = _as_grey(data, chunks, image_data)
    try:
        pixels = imagecodecs.png_decode(data)
    except (RuntimeError, ValueError) as error:  # ValueError: messages that are no text
        raise DecodeError(f"is a damaged PNG ({one_line(error)}), where a complete one was expected") from error
    if pixels.ndim == 3:  # alpha comes last, also where a tRNS chunk stands for it
        pixels = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., 0]
    if palette is not None:
        pixels //= 255 // (2**bits - 1)
    return Decoded(pixels, palette=palette, pixel_size_um=_pixel_size(chunks))


def _chunks(data):
    """Give the content of the chunks by name, and where the chunks of image data start and end."""
    chunks, image_data = {}, []
    position, name = len(SIGNATURE), None
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data.ljust(position + 8, b"\0"), position)
        end = position + length + _CHUNK_OVERHEAD
        if end > len(data):
            raise DecodeError(f"is a truncated PNG of {len(data):,} bytes, where at least {end:,} were expected")
        if name == b"IDAT":  # the codec verifies it
            image_data.append((position, end))
        else:
            chunks[name] = data[position + 8 : end - 4]
            if name in _CRITICAL and zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
                raise DecodeError(
                    f"is a damaged PNG (checksum of chunk {name.decode()}), where a complete one was expected"
                )
        position = end
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise DecodeError("is a damaged PNG without a header, where a complete one was expected")
    return chunks, image_data


def _palette(chunks):
    colours = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8)
    if len(colours) == 0 or len(colours) % 3:
        raise DecodeError("is a damaged PNG whose palette is missing or incomplete, where a complete one was expected")
    return colours.reshape(-1, 3)


def _as_grey(data, chunks, image_data):
    """Pass a palette picture off as a grey one: the codec applies palettes, but labels are the indices themselves."""
    header = chunks[b"IHDR"]
    grey = b"IHDR" + header[:9] + bytes([_GREY]) + header[10:]
    parts = [SIGNATURE, (13).to_bytes(4), grey, zlib.crc32(grey).to_bytes(4)]
    parts += [data[start:end] for start, end in image_data]
    parts += [(0).to_bytes(4), b"IEND", zlib.crc32(b"IEND").to_bytes(4)]
    return b"".join(parts)


def _pixel_size(chunks):
    if len(chunks.get(b"pHYs", b"")) != 9:
        return None
    per_metre_x, per_metre_y, unit = struct.unpack(">IIB", chunks[b"pHYs"])
    if unit != _METRE or not per_metre_x or not per_metre_y:
        return None
    return square_pixel_size(1e6 / per_metre_x, 1e6 / per_metre_y)

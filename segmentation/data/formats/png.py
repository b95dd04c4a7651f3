"""PNG: 1 to 16 bits; grey, RGB, palette, with or without alpha; every one at the depth it is stored in."""

import struct
import zlib

import imagecodecs
import numpy as np

from segmentation.data.formats.channels import choose_last
from segmentation.data.formats.decoded import DEFLATE_EXPANSION, Decoded, DecodeError, check_claim, one_line
from segmentation.data.formats.pixel_size import size_from_density

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PALETTE = 3
# Samples a pixel and depths of each colour type: grey, RGB, palette, grey with alpha, RGB with alpha.
_COLOUR_TYPES = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    _PALETTE: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}


def decode_png(data: bytes, channel: str | None = None) -> Decoded:
    """Decode a whole PNG file to uint8 or uint16.

    `channel` may choose a fourth sample that is no alpha.

    Grey of 1, 2 or 4 bits is spread over 0..255, as the format prescribes; gamma and colour profile are not applied.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, an animation, or its header claims more than the data can hold.
    """
    chunks, image_bytes = _chunks(data)
    width, height, bits, colour_type = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    samples, depths = _COLOUR_TYPES.get(colour_type, (0, ()))
    if bits not in depths:
        raise DecodeError(
            f"is a damaged PNG (colour type {colour_type} of {bits} bits), where a valid one was expected"
        )
    check_claim(width, height, height * ((width * bits * samples + 7) // 8), image_bytes, DEFLATE_EXPANSION)
    n_frames = int.from_bytes(chunks.get(b"acTL", b"")[:4])
    if n_frames > 1:
        raise DecodeError(f"holds an animation of {n_frames} frames, where one picture was expected")

    palette = None
    if colour_type == _PALETTE:
        palette = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8)
        if len(palette) == 0 or len(palette) % 3:
            raise DecodeError(
                "is a damaged PNG whose palette is missing or incomplete, where a complete one was expected"
            )
        # The codec applies palettes, but labels are the indices themselves: call the picture a grey one.
        header = data[12:25] + b"\0" + data[26:29]
        data = data[:12] + header + zlib.crc32(header).to_bytes(4) + data[33:]
    try:
        pixels = imagecodecs.png_decode(data)
    except (RuntimeError, ValueError) as error:  # ValueError: messages that are no text
        raise DecodeError(f"is a damaged PNG ({one_line(error)}), where a complete one was expected") from error
    channels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    if pixels.ndim == 3:  # alpha comes last, also where a tRNS chunk stands for it
        last = choose_last(pixels, channel) if samples in (2, 4) else None
        if last:
            channels, pixels, names = pixels, pixels[..., last[0]], last[1]
        else:
            pixels = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., 0]
    if palette is not None:
        palette, pixels = palette.reshape(-1, 3), pixels // (255 // (2**bits - 1))
    pixel_size = None
    if len(chunks.get(b"pHYs", b"")) == 9:
        *per_unit, is_metre = struct.unpack(">IIB", chunks[b"pHYs"])
        pixel_size = size_from_density(*per_unit) if is_metre == 1 else None
    return Decoded(pixels, palette=palette, pixel_size_um=pixel_size, channels=channels, names=names)


def _chunks(data: bytes) -> tuple[dict[bytes, bytes], int]:
    """Return the content of the chunks by name, without the image data, and the number of bytes of these."""
    chunks: dict[bytes, bytes] = {}
    image_bytes, position, name = 0, len(SIGNATURE), b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data.ljust(position + 8, b"\0"), position)
        end = position + length + 12  # length, name and checksum have four bytes each
        if end > len(data):
            raise DecodeError(f"is a truncated PNG of {len(data):,} bytes, where at least {end:,} were expected")
        if name == b"IDAT":  # the codec verifies it
            image_bytes += length
        elif name in (b"IHDR", b"PLTE", b"IEND"):
            if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
                raise DecodeError(
                    f"is a damaged PNG (checksum of chunk {name.decode()}), where a complete one was expected"
                )
            chunks[name] = data[position + 8 : end - 4]
        elif name in (b"acTL", b"pHYs"):
            chunks[name] = data[position + 8 : end - 4]
        position = end
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise DecodeError("is a damaged PNG without a header, where a complete one was expected")
    return chunks, image_bytes

"""Microscope images, read from common formats, those of slide scanners and those of microscopes.

The format is found from the content, never from the suffix. Pixels keep their native depth and their orientation in
the file; nothing is guessed: what is ambiguous or broken is refused with one sentence.
"""

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from segmentation.data.colours import find_single_channel, is_lookup_table
from segmentation.data.formats import bmp, gif, jpeg, jpeg2000, npy, png, scenes, webp
from segmentation.data.formats.channels import GREY, RGB, choose_channel, is_all_colours, name_channels
from segmentation.data.formats.decoded import Decoded, DecodeError, one_line
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.formats.planes import Place, Planes

# What is taken from a folder. Slide scanners and some microscopes give TIFF suffixes of their own.
_TIFF_SUFFIXES = set(".tif .tiff .btf .tf2 .tf8 .svs .ndpi .scn .bif .qptiff .lsm .stk .flex".split())
_OTHER_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".jp2", ".j2k", ".npy"}
IMAGE_SUFFIXES = frozenset({".png", *_TIFF_SUFFIXES, *_OTHER_SUFFIXES, *scenes.SUFFIXES})

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, in both byte orders
_FORMATS = "a PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000, NumPy, ND2, CZI, LIF, OIF or OIB image"


class Readable(Protocol):
    """A file on disk or in an archive; ``str()`` names it in messages."""

    def read_bytes(self) -> bytes: ...


def is_special(path: Path) -> bool:
    """Tell whether a path is a named pipe, a socket or a device: reading it might never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a broken link, which reading reports
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


class ImageError(ValueError):
    """A file is not one readable image or label map; the message is one sentence that names the file."""


@dataclass(frozen=True, eq=False)
class Image:
    """A microscope image at native depth.

    Attributes
    ----------
    pixels : ndarray of shape (H, W, C) and dtype uint8, uint16 or float32
        What is segmented. C is 1 (grey) or 3 (RGB). Floats are finite.
    gaps : int
        How many values were NaN or infinite in the file, and are the median of their channel now: background.
    channel_names : tuple of str
        ``("grey",)`` or ``("red", "green", "blue")``.
    pixel_size_um : PixelSize or None
        Height and width of a pixel in micrometres, where the file tells.
    all_channels : (H, W, K) ndarray or None
        All channels of the file, in its own dtype, where `pixels` are one of several.
    all_names : tuple of str
        Their names, all different; that of the one in `pixels` is "grey".
    place : tuple of (str, str)
        Where the picture is in its file, as in `segmentation.data.formats.planes.Place`.
    """

    pixels: np.ndarray
    channel_names: tuple[str, ...]
    pixel_size_um: PixelSize | None
    all_channels: np.ndarray | None = None
    all_names: tuple[str, ...] = ()
    gaps: int = 0
    place: Place = ()

    @property
    def measured(self) -> np.ndarray:
        """All channels of the file, (H, W, K) in its own dtype; `pixels` itself where no channel was chosen."""
        return self.pixels if self.all_channels is None else self.all_channels

    @property
    def measured_names(self) -> tuple[str, ...]:
        """The names of the channels of `measured`: of the chosen one "grey", of the others as the file tells."""
        return self.all_names or self.channel_names


@contextmanager
def image_errors(file: object) -> Iterator[None]:
    """Raise `ImageError`, which names the file, for every `DecodeError`."""
    try:
        yield
    except DecodeError as error:
        raise ImageError(f"{file} {error}") from error


def read_image(file: Readable, channel: str | None = None, planes: Planes | None = None) -> Image:
    """Read one microscope image, or one channel of it.

    A colour image whose three channels are equal everywhere becomes grey, and so does one that shows a single channel
    in a colour, such as blue or cyan. Alpha is dropped: a transparent region keeps the intensities stored under it. A
    palette is applied, unless it is a lookup table: its indices are the intensities. Where 0 means white (MinIsWhite in
    TIFF, unless ImageJ wrote it), values are inverted. bool becomes uint8 0/255, float16 and float64 become float32,
    and other integers become uint8 (from int8) or uint16 if all their values fit, else float32. Values that are NaN or
    infinite become the median of their channel.

    The pixel size is read from OME-XML, the metadata of ImageJ, of slide scanners and of microscopes, the TIFF
    resolution tags, PNG's pHYs and the BMP header; more than 9 µm a pixel, as of screens and printers, and pixels that
    are not square count as unknown.

    Parameters
    ----------
    channel : str, optional
        Which channel of a picture that has several: its name in OME-XML, in ImageJ's labels or, of colours, "red",
        "green" or "blue", which a grey image has, too; or its number, from 1. The image is then grey, and
        `Image.measured` holds all channels. "rgb" takes the first three channels for red, green and blue.
    planes : Planes, optional
        Which series and frame of a TIFF or a vendor's file that holds several, and how a stack in Z becomes one plane.

    Raises
    ------
    ImageError
        The file cannot be read, is of an unknown format, is truncated or damaged, claims a size that its bytes
        cannot hold, holds several planes in Z or time, several channels other than RGB of which none is chosen, or
        values that no image has (complex, or none that is finite).
    """
    with image_errors(file):
        return as_image(decode(file, channel, planes), channel)


def as_image(decoded: Decoded, channel: str | None = None) -> Image:
    """Return the image that a decoded picture shows, as `read_image` does; `DecodeError` where there is none."""
    pixels = intensities(decoded)
    channels, names = decoded.channels, decoded.names
    if channel is not None and not names and not is_all_colours(channel):
        index = choose_channel(channel, GREY if pixels.ndim == 2 else RGB)
        if pixels.ndim == 3:
            channels, names, pixels = pixels, name_channels(RGB, index), pixels[..., index]
    gaps = count_gaps(pixels)
    if gaps:
        pixels = fill_gaps(pixels, median_of(pixels))
    if pixels.ndim == 3:
        single = 0 if is_grey(pixels) else None if is_all_colours(channel) else find_single_channel(pixels)
        if single is not None:
            pixels = pixels[..., single]
    pixels = np.ascontiguousarray(np.atleast_3d(pixels))
    return Image(pixels, GREY if pixels.shape[-1] == 1 else RGB, decoded.pixel_size_um, channels, names, gaps)


def intensities(decoded: Decoded) -> np.ndarray:
    """Return the intensities of an image or of a block of it: (H, W) or (H, W, 3) of uint8, uint16 or float32.

    A palette is applied, and 0 is black; floats may be NaN or infinite. `DecodeError` for values that are no numbers.
    """
    pixels = decoded.pixels
    if decoded.palette is not None:
        # The colours of a lookup table only show the intensities.
        pixels = pixels if is_lookup_table(decoded.palette) else expand(pixels, decoded.palette)
    pixels = as_image_dtype(pixels)
    return pixels if decoded.black is None else pixels.dtype.type(decoded.black) - pixels


def decode(file: Readable, channel: str | None = None, planes: Planes | None = None) -> Decoded:
    """Decode the content of a file in whatever format it is; `DecodeError` where that fails."""
    try:
        if not isinstance(file, Path):
            return _decode_stream(io.BytesIO(file.read_bytes()), channel, planes)
        with file.open("rb") as stream:
            return _decode_stream(stream, channel, planes)
    except FileNotFoundError as error:
        raise DecodeError(f"does not exist, where {_FORMATS} was expected") from error
    except IsADirectoryError as error:
        raise DecodeError(f"is a folder, where {_FORMATS} was expected") from error
    except PermissionError as error:  # also what Windows answers for a folder
        kind = "is a folder" if os.path.isdir(str(file)) else "may not be read (permission denied)"
        raise DecodeError(f"{kind}, where {_FORMATS} was expected") from error
    except MemoryError as error:
        raise DecodeError("needs more memory than is free, where a picture that fits was expected") from error
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # the last four from archives
        raise DecodeError(f"cannot be read ({one_line(error)}), where {_FORMATS} was expected") from error


def _decode_stream(stream: BinaryIO, channel: str | None, planes: Planes | None) -> Decoded:
    start = stream.read(64)
    stream.seek(0)
    if start.startswith(TIFF_SIGNATURES):
        # Imported here, for its 30 ms: most data sets hold no TIFF.
        from segmentation.data.formats.tiff import decode_tiff

        return decode_tiff(stream, channel, planes)
    if start.startswith(scenes.SIGNATURES):
        return scenes.decode_scene(stream, channel, planes)
    if planes and planes.series:
        raise DecodeError(f"is no file of several series, where a series {planes.series + 1} was asked for (--series)")
    if start.startswith(png.SIGNATURE):
        return png.decode_png(stream.read(), channel)
    if start.startswith(jpeg.SIGNATURE):
        return jpeg.decode_jpeg(stream.read())
    if bmp.is_bmp(start):
        return bmp.decode_bmp(stream.read())
    if start.startswith(gif.SIGNATURES):
        return gif.decode_gif(stream.read())
    if webp.is_webp(start):
        return webp.decode_webp(stream.read())
    if start.startswith(jpeg2000.SIGNATURES):
        return jpeg2000.decode_jpeg2000(stream.read())
    if start.startswith(npy.SIGNATURE):
        return npy.decode_npy(stream.read())
    if not start:
        kind = "is empty (0 bytes)"
    elif start.isascii() and all(sign.isprintable() or sign.isspace() for sign in start.decode("ascii")):
        kind = f"is a text file that begins with {start[:30].decode('ascii')!r}"
    else:
        kind = f"is of an unknown format that begins with the bytes {start[:8].hex(' ')}"
    raise DecodeError(f"{kind}, where {_FORMATS} was expected")


def expand(indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the colours, (H, W, 3) uint8, or (H, W) uint8 of a palette that is all grey."""
    highest = int(indices.max())
    if highest >= len(palette):
        raise DecodeError(
            f"is a damaged picture that uses palette entry {highest}, where at most {len(palette) - 1} was expected"
        )
    return palette[:, 0][indices] if is_grey(palette) else palette[indices]


def is_grey(colours: np.ndarray) -> bool:
    """Tell whether the three channels, last axis of (..., 3), are equal; the first row decides it for most images."""
    return all(
        np.array_equal(part[..., 0], part[..., channel]) for part in (colours[:1], colours) for channel in (1, 2)
    )


def as_image_dtype(pixels: np.ndarray) -> np.ndarray:
    """Convert bool, integers or floats to uint8, uint16 or float32; True becomes 255.

    Integers below 0 or above 65,535 become float32, which has 24 bits for each. `DecodeError` for other types.
    """
    dtype = pixels.dtype
    if dtype.kind == "b":
        return pixels.astype(np.uint8) * 255
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return pixels.astype(dtype.newbyteorder("="), copy=False)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            return pixels.astype(np.float32, copy=False)
    check_numbers(pixels)
    if pixels.min() < 0 or pixels.max() > 65_535:
        return pixels.astype(np.float32)
    return pixels.astype(np.uint8 if dtype.itemsize == 1 else np.uint16)


def count_gaps(pixels: np.ndarray) -> int:
    """Count the values that are NaN or infinite."""
    return 0 if pixels.dtype.kind != "f" else pixels.size - int(np.count_nonzero(np.isfinite(pixels)))


def median_of(pixels: np.ndarray) -> np.ndarray:
    """Return the median of the finite values of each channel, (C,) float32, of (H, W, C) or (H, W).

    It is background in a dark field and in a bright one. `DecodeError` if a channel has no finite value.
    """
    medians = []
    for channel in np.moveaxis(np.atleast_3d(pixels), -1, 0):
        finite = channel[np.isfinite(channel)]
        if not finite.size:
            raise DecodeError(
                f"holds {channel.size:,} values that are NaN or infinite, where finite ones were expected"
            )
        medians.append(np.percentile(finite, 50, method="inverted_cdf"))
    return np.array(medians, np.float32)


def fill_gaps(pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Replace values that are NaN or infinite, of (H, W) or (H, W, C), by the background of their channel, (C,)."""
    if pixels.ndim == 2:
        return np.where(np.isfinite(pixels), pixels, background[0])
    return np.where(np.isfinite(pixels), pixels, background)


def check_numbers(pixels: np.ndarray) -> None:
    """`DecodeError` unless the values are integers or real numbers."""
    if pixels.dtype.kind not in "iuf":
        raise DecodeError(f"holds {pixels.dtype.name} values, where integers or real numbers were expected")


def check_range(pixels: np.ndarray, largest: int, expected: str) -> None:
    check_numbers(pixels)
    lowest, highest = int(pixels.min()), int(pixels.max())
    if lowest < 0 or highest > largest:
        raise DecodeError(f"holds {pixels.dtype.name} values from {lowest} to {highest}, where {expected} expected")

"""TIFF: one plane, grey, RGB or palette, of any depth and compression, or one channel of several."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from segmentation.data.formats.channels import SeveralChannels, choose_channel, list_channels, name_channels
from segmentation.data.formats.decoded import MAX_PIXELS, Decoded, DecodeError, one_line
from segmentation.data.formats.pixel_size import ome_pixels, tiff_pixel_size
from segmentation.data.formats.tiff_checks import Page, check_data, check_directory, check_streams
from segmentation.data.formats.tiff_pages import open_tiff

_JPEG = frozenset({COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY})

_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)

_AXES = {"T": "time points", "Z": "planes in Z", "C": "channels", "S": "channels"}
# Axes that may be channels: those that are, and those of pages about which the file says nothing.
_CHANNEL_AXES = "CSIQ"

# Pictures beside the slide, as scanners store them.
_SIDE_PICTURES = frozenset({"thumbnail", "label", "macro", "overview"})


@dataclass(frozen=True, eq=False)
class Plane:
    """Where in a TIFF the picture is.

    Attributes
    ----------
    key : tifffile.TiffPage
        Describes the data of all pages.
    pages : tuple of tifffile.TiffPage or tifffile.TiffFrame
        That hold the picture: one, or one for each channel.
    channel : int or None
        The channel to segment, of the samples of the page or of the pages; None: all samples, grey or RGB with or
        without alpha.
    names : tuple of str
        Of the channels, where one is chosen.
    """

    key: tifffile.TiffPage
    pages: tuple[Page, ...]
    channel: int | None = None
    names: tuple[str, ...] = ()

    @property
    def alone(self) -> "Plane":
        """The picture without the pages of other channels."""
        if self.channel is None or len(self.pages) == 1:
            return self
        return Plane(self.key, (self.pages[self.channel],), None, (self.names[self.channel],))


def decode_tiff(stream: BinaryIO, channel: str | None = None) -> Decoded:
    """Decode a TIFF that holds one plane, or one channel of it.

    Pages marked as reduced copies (thumbnails, the lower levels of a pyramid) are ignored, and so is the orientation.

    Parameters
    ----------
    stream : binary file
        At its beginning; only what is needed is read.
    channel : str, optional
        As `choose_channel` takes it. The other channels are decoded too, unless all of them together are too large.

    Returns
    -------
    Decoded
        In the dtype of the file.

    Raises
    ------
    DecodeError
        The file is truncated, damaged, a stack, has several channels other than RGB of which none is chosen, colours
        other than RGB, or a header that claims more than the data can hold.
    """
    with decode_errors(), open_tiff(stream) as tiff:
        plane = find_plane(tiff, channel)
        if len(plane.pages) * math.prod(plane.key.shape) > MAX_PIXELS:
            plane = plane.alone
        for page in plane.pages:
            check_data(tiff, plane.key, page)
            check_streams(tiff, plane.key, page)
        if len(plane.pages) == 1:
            return as_decoded(tiff, plane, plane.pages[0].asarray())
        channels = np.empty((*plane.key.shape, len(plane.pages)), plane.key.dtype)
        for index, page in enumerate(plane.pages):
            channels[..., index] = page.asarray()
        return as_decoded(tiff, plane, channels)


@contextmanager
def decode_errors() -> Iterator[None]:
    """Raise `DecodeError` for the dozen types of errors by which tifffile and its codecs report a damaged file."""
    try:
        yield
    except (DecodeError, OSError, MemoryError):
        raise
    except Exception as error:
        raise DecodeError(
            f"is a TIFF that cannot be decoded ({one_line(error)}), where a complete and common one was expected"
        ) from error


def find_plane(tiff: tifffile.TiffFile, channel: str | None = None) -> Plane:
    """Find the picture in a file; refuse a file that holds several, and say what they are.

    Of grey and RGB pictures no channel is chosen here. Errors are those of `decode_tiff`.
    """
    if not tiff.pages:
        raise DecodeError(
            f"is a truncated TIFF of {tiff.filehandle.size:,} bytes without a page, where a complete one was expected"
        )
    series = [entry for entry in tiff.series if not entry.keyframe.is_reduced] or list(tiff.series)
    series = [entry for entry in series if entry.name.lower() not in _SIDE_PICTURES] or series
    if len(series) > 1:
        sizes = ", ".join(f"{entry.axes} {entry.shape}" for entry in series[:5])
        raise DecodeError(f"holds {len(series)} pictures ({sizes}), where one was expected")
    entry, page = series[0], series[0].keyframe
    check_directory(tiff, page)
    is_plane, one_page = page.axes in ("YX", "YXS", "SYX"), math.prod(entry.shape) == math.prod(page.shape)
    if is_plane and one_page and _is_grey_or_rgb(page):
        return Plane(page, (page,))
    axes = [
        (axis, length) for axis, length in zip(entry.axes, entry.shape, strict=True) if axis not in "YX" and length > 1
    ]
    counts = " x ".join(f"{length} {_AXES.get(axis, 'pages')}" for axis, length in axes) or "an unknown arrangement"
    held = f"holds {counts} (axes {entry.axes}, shape {tuple(entry.shape)})"
    if len(axes) != 1 or axes[0][0] not in _CHANNEL_AXES or not is_plane:
        never = "" if channel is None else "; a channel is chosen from pictures without Z and time alone"
        raise DecodeError(f"{held}, where one plane, grey or RGB, was expected{never}")
    names = _channel_names(tiff, axes[0][1])
    if channel is None:
        numbered = f": {list_channels(names)}" if any(names) else ""
        raise SeveralChannels(f"{held}{numbered}, where one plane, grey or RGB, was expected")
    index = choose_channel(channel, names)
    if one_page:
        return Plane(page, (page,), index, name_channels(names, index))
    pages = tuple(single for single in entry.pages if single is not None)
    if page.axes != "YX" or not len(pages) == len(entry.pages) == len(names):
        raise DecodeError(f"{held}, but not as a page each, where a page for each channel was expected")
    return Plane(page, pages, index, name_channels(names, index))


def _channel_names(tiff: tifffile.TiffFile, count: int) -> Sequence[str | None]:
    """Return the names of the channels in OME-XML or ImageJ's labels; None for each that has none."""
    names: list[str | None] = []
    if tiff.is_ome:
        names = [child.get("Name") for child in ome_pixels(tiff.ome_metadata) if child.tag.endswith("}Channel")]
    elif tiff.is_imagej:
        labels = (tiff.imagej_metadata or {}).get("Labels") or []
        names = [str(label) or None for label in ([labels] if isinstance(labels, str) else labels)]
    return names if len(names) == count else [None] * count


def as_decoded(tiff: tifffile.TiffFile, plane: Plane, pixels: np.ndarray) -> Decoded:
    """Convert the samples of a plane or of a part of it, as stored: (H, W), (H, W, S) or (S, H, W); drop alpha."""
    page = plane.key
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    channels = palette = black = None
    if plane.channel is not None:
        channels, pixels = pixels, pixels[..., plane.channel]
    elif pixels.ndim == 3:  # alpha comes last
        pixels = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., 0]
    if channels is not None and channels.dtype == bool:
        channels = channels.astype(np.uint8) * 255
    if page.photometric == PHOTOMETRIC.PALETTE:
        palette = _palette(page)
        pixels = pixels.astype(np.uint16 if page.bitspersample > 8 else np.uint8)
    elif page.photometric == PHOTOMETRIC.MINISWHITE:
        black = _black(page, pixels).item()
        if channels is not None:
            channels = _black(page, channels).astype(channels.dtype) - channels
    return Decoded(
        pixels,
        palette=palette,
        black=black,
        lossy=page.compression in _JPEG,
        pixel_size_um=tiff_pixel_size(tiff, page),
        channels=channels,
        names=plane.names,
    )


def _is_grey_or_rgb(page: tifffile.TiffPage) -> bool:
    """Whether the samples are grey or RGB; refuse values that are no numbers, and colours other than RGB."""
    samples, photometric = page.samplesperpixel, page.photometric
    if page.dtype is None:
        raise DecodeError(
            f"stores pixels of {page.bitspersample} bits in sample format {page.sampleformat}, "
            "where integers or real numbers of 1 to 64 bits were expected"
        )
    if photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE):
        return samples == 1 or (samples == 2 and len(page.extrasamples) > 0 and page.extrasamples[0] in _ALPHA)
    if photometric == PHOTOMETRIC.RGB or (photometric == PHOTOMETRIC.YCBCR and page.compression in _JPEG):
        return samples in (3, 4)
    name = getattr(photometric, "name", photometric)
    raise DecodeError(f"stores its colours as {name}, where grey, RGB or a palette was expected")


def _palette(page: tifffile.TiffPage) -> np.ndarray:
    """Return the colour map as (N, 3) uint8; some programs fill its 16-bit entries with 8-bit values."""
    colours, dtype = np.asarray(page.colormap).T, np.dtype(page.dtype)
    if dtype.kind not in "bu" or page.bitspersample > 16 or colours.shape != (2**page.bitspersample, 3):
        raise DecodeError(
            f"is a damaged TIFF with {dtype} pixels and a palette of shape {colours.shape}, "
            "where one entry (red, green, blue) for each possible value was expected"
        )
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def has_natural_white(page: tifffile.TiffPage) -> bool:
    """Whether the type of the pixels says which value is the opposite of 0."""
    return page.dtype == bool or (np.dtype(page.dtype).kind == "u" and page.bitspersample <= 16)


def _black(page: tifffile.TiffPage, pixels: np.ndarray) -> np.ndarray:
    """Return the value that is black where 0 is white; without a natural one, the largest in each channel."""
    if has_natural_white(page):
        return np.array(255 if page.dtype == bool else 2**page.bitspersample - 1)
    return pixels.max(axis=(0, 1))

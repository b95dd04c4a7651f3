"""TIFF: one plane, grey, RGB or palette, of any depth and compression, or one channel of several."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from segmentation.data.formats import bif, scn, tiff_samples
from segmentation.data.formats.channels import (
    SeveralChannels,
    are_colours,
    choose_channel,
    choose_last,
    is_all_colours,
    list_channels,
    name_channels,
)
from segmentation.data.formats.decoded import CHOOSE_SERIES, MAX_PIXELS, Decoded, DecodeError, Undecided, one_line
from segmentation.data.formats.planes import Planes, project
from segmentation.data.formats.tiff_channels import channel_names
from segmentation.data.formats.tiff_checks import Page, check_data, check_directory, check_streams
from segmentation.data.formats.tiff_pages import list_planes, open_tiff
from segmentation.data.formats.tiff_pixel_size import tiff_pixel_size

_AXES = {"T": "time points", "Z": "planes in Z", "C": "channels", "S": "channels"}
# Axes that may be channels: those that are, and those of pages about which the file says nothing.
_CHANNEL_AXES = "CSIQ"

# Pictures beside the slide, as scanners store them.
_SIDE_PICTURES = frozenset({"thumbnail", "label", "macro", "overview", "map"})


@dataclass(frozen=True, eq=False)
class Plane:
    """Where in a TIFF the picture is.

    Attributes
    ----------
    key : tifffile.TiffPage
        Describes the data of all pages.
    pages : tuple of tifffile.TiffPage or tifffile.TiffFrame
        That hold the picture: one, or one for each channel; of a stack in Z, `depth` pages for each of these.
    channel : int or None
        The channel to segment, of the samples of the page or of the pages; None: all samples, grey or RGB with or
        without alpha.
    names : tuple of str
        Of the channels, where one is chosen.
    depth : int
        How many planes in Z become one.
    project : str or None
        How they do, as in `Planes`.
    is_ycbcr : bool
        The samples are YCbCr, as stored.
    """

    key: tifffile.TiffPage
    pages: tuple[Page, ...]
    channel: int | None = None
    names: tuple[str, ...] = ()
    depth: int = 1
    project: str | None = None
    is_ycbcr: bool = False

    @property
    def alone(self) -> "Plane":
        """The picture without the pages of other channels."""
        if self.channel is None or len(self.pages) == self.depth:
            return self
        pages = self.pages[self.channel * self.depth :][: self.depth]
        return replace(self, pages=pages, channel=None, names=(self.names[self.channel],))

    def assembled(self, read: Callable[[Page], np.ndarray]) -> np.ndarray:
        """Read the pages; return the plane, or the planes of all channels, the last axis."""
        stacks = [self.pages[first : first + self.depth] for first in range(0, len(self.pages), self.depth)]
        planes = (project((self._rgb(read(page)) for page in stack), self.project) for stack in stacks)
        first = next(planes)
        if len(stacks) == 1:
            return first
        channels = np.empty((*first.shape, len(stacks)), first.dtype)
        channels[..., 0] = first
        for index, plane in enumerate(planes, 1):
            channels[..., index] = plane
        return channels

    def _rgb(self, pixels: np.ndarray) -> np.ndarray:
        return tiff_samples.rgb_of(pixels) if self.is_ycbcr else pixels

    def with_last(self, pixels: np.ndarray, channel: str | None) -> "Plane":
        """Choose the last sample where `choose_last` does; `pixels` are all samples, as stored."""
        if self.channel is not None or len(self.pages) > 1 or self.key.samplesperpixel not in (2, 4):
            return self
        last = choose_last(np.moveaxis(pixels, 0, -1) if self.key.axes == "SYX" else pixels, channel)
        return replace(self, channel=last[0], names=last[1]) if last else self


def decode_tiff(stream: BinaryIO, channel: str | None = None, planes: Planes | None = None) -> Decoded:
    """Decode a TIFF that holds one plane, or one channel of it.

    Pages marked as reduced copies (thumbnails, the lower levels of a pyramid) are ignored, and so is the orientation.

    Parameters
    ----------
    stream : binary file
        At its beginning; only what is needed is read.
    channel : str, optional
        As `choose_channel` takes it. The other channels are decoded too, unless all of them together are too large.
    planes : Planes, optional
        Of a file with several series, points in time, or planes in Z.

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
        plane = find_plane(tiff, channel, planes)
        if len(plane.pages) // plane.depth * math.prod(plane.key.shape) > MAX_PIXELS:
            plane = plane.alone
        for page in plane.pages:
            check_data(tiff, plane.key, page)
            check_streams(tiff, plane.key, page)
        pixels = plane.assembled(lambda page: page.asarray())
        return as_decoded(tiff, plane.with_last(pixels, channel), pixels)


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


def list_series(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the pictures of a file, without reduced copies and what scanners store beside the slide."""
    if not tiff.pages:
        raise DecodeError(
            f"is a truncated TIFF of {tiff.filehandle.size:,} bytes without a page, where a complete one was expected"
        )
    series = [entry for entry in tiff.series if not entry.keyframe.is_reduced] or list(tiff.series)
    series = [entry for entry in series if not _is_beside(tiff, entry)] or series
    tiled = [entry for entry in series if entry.keyframe.is_tiled]
    if len(tiled) == 1 < len(series) and not (tiff.is_ome or tiff.is_imagej):
        # A slide that another program saved: thumbnail, label and macro lost their names, but never are in tiles.
        area = math.prod(tiled[0].keyframe.shape)
        if all(math.prod(entry.keyframe.shape) * 4 <= area for entry in series if entry is not tiled[0]):
            return tiled
    return series


def _is_beside(tiff: tifffile.TiffFile, entry: tifffile.TiffPageSeries) -> bool:
    return entry.name.lower() in _SIDE_PICTURES or (tiff.is_scn and scn.is_overview(tiff, entry.keyframe))


def count_frames(stream: BinaryIO) -> list[int]:
    """Return the number of points in time of each series."""
    with decode_errors(), open_tiff(stream) as tiff:
        return [dict(zip(entry.axes, entry.shape, strict=True)).get("T", 1) for entry in list_series(tiff)]


def find_plane(tiff: tifffile.TiffFile, channel: str | None = None, planes: Planes | None = None) -> Plane:
    """Find the picture in a file; refuse a file that holds several of which none is chosen, and say what they are.

    Of grey and RGB pictures no channel is chosen here. Errors are those of `decode_tiff`.
    """
    planes, series = planes or Planes(), list_series(tiff)
    if planes.series is None and len(series) > 1:
        sizes = ", ".join(f"{entry.axes} {entry.shape}" for entry in series[:5])
        raise Undecided(f"holds {len(series)} pictures ({sizes}), where one was expected", CHOOSE_SERIES)
    number = planes.series or 0
    if number >= len(series):
        raise DecodeError(f"holds {len(series)} series, where a series {number + 1} was asked for (--series)")
    entry, page = series[number], series[number].keyframe
    if page.axes == "YX" and page.imagewidth <= 4 < page.imagelength and len(entry.shape) == 3 and entry.shape[0] > 4:
        rows, columns, count = entry.shape
        raise DecodeError(
            f"holds {rows} pages of {columns} x {count} pixels, which are {count} channels with the channels last, "
            f"where pages of rows x columns were expected: save an array of the shape ({count}, {rows}, {columns})"
        )
    check_directory(tiff, page)
    if tiff.is_bif:
        bif.check_joints(page)
    is_plane, one_page = page.axes in ("YX", "YXS", "SYX"), math.prod(entry.shape) == math.prod(page.shape)
    is_known = is_plane and tiff_samples.is_grey_or_rgb(page)
    if is_known and one_page:
        return Plane(page, (page,), is_ycbcr=tiff_samples.is_undone_ycbcr(page))
    letters = entry.axes
    is_projected = planes.project is not None and channel is None
    if is_known and (page.samplesperpixel > 2 or is_projected) and len(set("ZIQ") & set(letters)) == 1:
        letters = letters.replace("I", "Z").replace("Q", "Z")  # pages about which the file says nothing
    axes = {axis: length for axis, length in zip(letters, entry.shape, strict=True) if axis not in "YX" and length > 1}
    named = zip(entry.axes, entry.shape, strict=True)
    counts = " x ".join(
        f"{length} {_AXES.get(axis, 'pages')}" for axis, length in named if axis not in "YX" and length > 1
    )
    held = f"holds {counts or 'an unknown arrangement'} (axes {entry.axes}, shape {tuple(entry.shape)})"
    if one_page and is_plane:
        return _with_channel(tiff, entry, Plane(page, (page,)), list(axes.values()), channel, held)
    # In an LSM, the samples of a page are channels.
    own = "CYX" if page.axes == "SYX" and letters.endswith("CYX") else page.axes
    outer = letters.removesuffix(own)
    shape = entry.shape[: len(outer)]
    pages = list_planes(tiff, entry, math.prod(shape))
    is_paged = is_plane and len(pages) == math.prod(shape)
    if is_plane and len(pages) < math.prod(shape):
        held = f"{held}, but not all of their {math.prod(shape)} pages"
    if planes.frame is None and axes.get("T", 1) > 1 or not is_paged or not (is_known or own in ("YX", "CYX")):
        raise DecodeError(f"{held}, where one plane, grey or RGB, was expected")
    index = np.arange(len(pages)).reshape(shape)
    for axis, place in ((axis, outer.index(axis)) for axis in "TZ" if axis in outer):
        if axis == "T":
            frame = planes.frame or 0
            if frame >= index.shape[place]:
                raise DecodeError(f"{held}, where a frame {frame + 1} was asked for")
            index = index.take([frame], place)
        elif axes.get("Z", 1) > 1:
            index = index.take(planes.depths(axes["Z"], held), place)
    depth = index.shape[outer.index("Z")] if "Z" in outer else 1
    index = np.moveaxis(index, outer.index("Z"), -1) if "Z" in outer else index
    if depth > 1 and not tiff_samples.can_project(page):
        raise DecodeError(f"{held} with a palette or with 0 for white, where grey or RGB was expected of a stack in Z")
    chosen = tuple(pages[number] for number in index.ravel())
    plane = Plane(page, chosen, depth=depth, project=planes.project, is_ycbcr=tiff_samples.is_undone_ycbcr(page))
    others = [length for axis, length in axes.items() if axis not in ("T", "Z", "S")]
    if not others and is_known:
        return plane
    if len(others) != 1 or not set(axes) <= {*_CHANNEL_AXES, "T", "Z"} or own not in ("YX", "CYX"):
        raise DecodeError(f"{held}, where one plane, grey or RGB, was expected")
    return _with_channel(tiff, entry, plane, others, channel, held)


def _with_channel(
    tiff: tifffile.TiffFile,
    entry: tifffile.TiffPageSeries,
    plane: Plane,
    counts: Sequence[int],
    channel: str | None,
    held: str,
) -> Plane:
    """Return a plane with one of its channels chosen, of as many as the one entry of `counts` says."""
    if len(counts) != 1:
        raise DecodeError(f"{held}, where one plane, grey or RGB, was expected")
    names = channel_names(tiff, entry, counts[0])
    if is_all_colours(channel) or (channel is None and are_colours(names)):
        if len(names) < 3:
            raise DecodeError(f"{held}, where at least three were expected for --channel rgb")
        return plane if len(plane.pages) == 1 else replace(plane, pages=plane.pages[: 3 * plane.depth])
    if channel is None:
        numbered = f": {list_channels(names)}" if any(names) else ""
        raise SeveralChannels(f"{held}{numbered}, where one plane, grey or RGB, was expected")
    index = choose_channel(channel, names)
    return replace(plane, channel=index, names=name_channels(names, index))


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
        # A channel of several is never shown in the palette, which is that of the first page; a stack's is no data.
        if plane.depth == 1:
            palette = None if plane.names else tiff_samples.palette_of(page)
            pixels = pixels.astype(np.uint16 if page.bitspersample > 8 else np.uint8)
    elif tiff_samples.is_white_zero(page):
        black = tiff_samples.black_of(page, pixels).item()
        if channels is not None:
            channels = tiff_samples.black_of(page, channels).astype(channels.dtype) - channels
    return Decoded(
        pixels,
        palette=palette,
        black=black,
        lossy=page.compression in tiff_samples.JPEG,
        pixel_size_um=tiff_pixel_size(tiff, page),
        channels=channels,
        names=plane.names,
    )

"""TIFF: one plane, grey, RGB or palette, of any depth and compression; its pixel size from whichever metadata tell."""

import math
import operator
import struct
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from segmentation.data.formats.channels import SeveralChannels, choose_channel, list_channels, name_channels
from segmentation.data.formats.decoded import (
    DEFLATE_EXPANSION,
    MAX_PIXELS,
    Decoded,
    DecodeError,
    check_claim,
    one_line,
)
from segmentation.data.formats.pixel_size import tiff_pixel_size

_JPEG = frozenset({COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY})
# The most decoded bytes that one stored byte can stand for. An LZW code of 12 bits stands for at most 3,838 bytes.
_EXPANSION = {
    COMPRESSION.NONE: 1,
    COMPRESSION.PACKBITS: 64,
    COMPRESSION.LZW: 2_560,
    COMPRESSION.ADOBE_DEFLATE: DEFLATE_EXPANSION,
    COMPRESSION.DEFLATE: DEFLATE_EXPANSION,
}
# The other codecs have no such bound; Zstandard's runs of 128 KiB in four bytes go furthest in practice.
_EXPANSION_OF_OTHERS = 32_768

_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)

# tifffile passes over a tag that it cannot read and takes the default of the format, which gives another picture.
_ESSENTIAL_TAGS = {
    256: "ImageWidth",
    257: "ImageLength",
    258: "BitsPerSample",
    259: "Compression",
    262: "PhotometricInterpretation",
    277: "SamplesPerPixel",
    317: "Predictor",
}

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
    pages : tuple of tifffile.TiffPage or tifffile.TiffFrame
        That hold the picture: one, or one for each channel.
    channel : int or None
        Which channel is the picture, of those that are samples of the page or pages of their own; None where all
        samples are: grey or RGB, and perhaps alpha.
    names : tuple of str
        Of the channels, where one is chosen.
    """

    pages: tuple[tifffile.TiffPage | tifffile.TiffFrame, ...]
    channel: int | None = None
    names: tuple[str, ...] = ()

    @property
    def alone(self) -> "Plane":
        """The picture without the pages of other channels."""
        if len(self.pages) == 1:
            return self
        return Plane((self.pages[self.channel],), None, (self.names[self.channel],))

    @property
    def key(self) -> tifffile.TiffPage:
        """The page that describes the data of all pages."""
        return self.pages[0].keyframe


def decode_tiff(stream, channel=None):
    """Decode a TIFF that holds one plane, or one channel of it.

    Pages marked as reduced copies (thumbnails, the lower levels of a pyramid) are passed over; the orientation tag is
    ignored. A palette is handed on, not applied.

    Parameters
    ----------
    stream : binary file
        At its beginning; only what is needed is read.
    channel : str, optional
        As `choose_channel` takes it.

    Returns
    -------
    Decoded
        In the dtype of the file.

    Raises
    ------
    DecodeError
        Truncated, damaged, a stack, more channels than a colour has and none of them asked for, in colours other than
        RGB, or a header that claims more than the data can hold.
    """
    try:
        with tifffile.TiffFile(stream) as tiff:
            plane = find_plane(tiff, channel)
            if len(plane.pages) * math.prod(plane.key.shape) > MAX_PIXELS:
                plane = plane.alone
            for page in plane.pages:
                check_data(tiff, page)
            if len(plane.pages) == 1:
                return as_decoded(tiff, plane, plane.pages[0].asarray())
            channels = np.empty((*plane.key.shape, len(plane.pages)), plane.key.dtype)
            for index, page in enumerate(plane.pages):
                channels[..., index] = page.asarray()
            return as_decoded(tiff, plane, channels)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # tifffile and its codecs answer damage with a dozen types
        raise undecodable(error) from error


def undecodable(error):
    """What to raise where tifffile or one of its codecs gives up."""
    return DecodeError(
        f"is a TIFF that cannot be decoded ({one_line(error)}), where a complete and common one was expected"
    )


def find_plane(tiff, channel=None):
    """Find the picture in a file; refuse one that holds several, saying what they are.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    channel : str, optional
        As `choose_channel` takes it. Of grey and RGB pictures none is chosen here.

    Returns
    -------
    Plane

    Raises
    ------
    DecodeError
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
    _check_directory(tiff, page)
    one_page = math.prod(entry.shape) == math.prod(page.shape)
    if one_page and page.axes in ("YX", "YXS", "SYX") and _is_grey_or_rgb(page):
        return Plane((page,))
    axes = [(axis, length) for axis, length in zip(entry.axes, entry.shape, strict=True) if axis not in "YX"]
    axes = [(axis, length) for axis, length in axes if length > 1]
    held = f"holds {_what_it_holds(entry.axes, entry.shape)}"
    if len(axes) != 1 or axes[0][0] not in _CHANNEL_AXES or page.axes not in ("YX", "YXS", "SYX"):
        never = "" if channel is None else "; a channel is chosen from pictures without Z and time alone"
        raise DecodeError(f"{held}, where one plane, grey or RGB, was expected{never}")
    names = _channel_names(tiff, axes[0][1])
    if channel is None:
        numbered = f": {list_channels(names)}" if any(names) else ""
        raise SeveralChannels(f"{held}{numbered}, where one plane, grey or RGB, was expected")
    index = choose_channel(channel, names)
    if one_page:
        return Plane((page,), index, name_channels(names, index))
    pages = tuple(entry.pages)
    if page.axes != "YX" or len(pages) != len(names) or None in pages:
        raise DecodeError(f"{held}, but not as a page each, where a page for each channel was expected")
    return Plane(pages, index, name_channels(names, index))


def _channel_names(tiff, count):
    """Names of the channels as OME-XML or ImageJ tell them; None for each that is not told."""
    names = []
    if tiff.is_ome:
        try:
            root = ElementTree.fromstring(tiff.ome_metadata)
        except ElementTree.ParseError:
            root = ElementTree.Element("OME")
        pixels = next((element for element in root.iter() if element.tag.endswith("}Pixels")), ())
        names = [element.get("Name") for element in pixels if element.tag.endswith("}Channel")]
    elif tiff.is_imagej:
        labels = (tiff.imagej_metadata or {}).get("Labels") or []
        names = [str(label) or None for label in ([labels] if isinstance(labels, str) else labels)]
    return tuple(names) if len(names) == count else (None,) * count


def _what_it_holds(axes, shape):
    counts = [
        f"{length} {_AXES.get(axis, 'pages')}"
        for axis, length in zip(axes, shape, strict=True)
        if axis not in "YX" and length > 1
    ]
    return f"{' x '.join(counts) or 'an unknown arrangement'} (axes {axes}, shape {tuple(shape)})"


def _check_directory(tiff, page):
    """Refuse a page whose directory lists what tifffile left out: a tag it could not read, a page that is not there."""
    layout, stream = tiff.tiff, tiff.filehandle
    stream.seek(page.offset)
    (n_tags,) = struct.unpack(layout.tagnoformat, stream.read(layout.tagnosize))
    entries = stream.read(n_tags * layout.tagsize)
    for position in range(0, len(entries), layout.tagsize):
        (code,) = struct.unpack_from(layout.byteorder + "H", entries, position)
        if code in _ESSENTIAL_TAGS and code not in page.tags:
            raise DecodeError(
                f"is a damaged TIFF whose tag {_ESSENTIAL_TAGS[code]} cannot be read, where a complete one was expected"
            )
    (next_page,) = struct.unpack(layout.offsetformat, stream.read(layout.offsetsize))
    if next_page and len(tiff.pages) == 1:
        raise DecodeError(
            "is a truncated or damaged TIFF whose second page is missing, where a complete one was expected"
        )


def as_decoded(tiff, plane, pixels):
    """Make of the samples of a page, or of a part of it, what is handed on: alpha dropped, the palette beside them.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    plane : Plane
    pixels : (H, W), (H, W, S) or (S, H, W) ndarray
        As the page stores them.

    Returns
    -------
    Decoded
    """
    page = plane.key
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    channels = None
    if plane.channel is not None:
        channels, pixels = pixels, pixels[..., plane.channel]
    elif pixels.ndim == 3:  # alpha comes last
        pixels = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., 0]
    palette = black = None
    if page.photometric == PHOTOMETRIC.PALETTE:
        palette = _palette(page)
        pixels = pixels.astype(np.uint16 if page.bitspersample > 8 else np.uint8)
    elif page.photometric == PHOTOMETRIC.MINISWHITE:
        black = _black(page, pixels)
    if channels is not None:
        channels = _as_measured(page, channels)
    return Decoded(
        pixels,
        palette=palette,
        black=black,
        lossy=page.compression in _JPEG,
        pixel_size_um=tiff_pixel_size(tiff, page),
        channels=channels,
        names=plane.names,
    )


def _is_grey_or_rgb(page):
    """Whether the samples are grey or RGB; refuse values that are no numbers, and colours other than RGB."""
    samples, photometric = page.samplesperpixel, page.photometric
    if page.dtype is None:
        raise DecodeError(
            f"stores pixels of {page.bitspersample} bits in sample format {page.sampleformat}, "
            "where integers or real numbers of 1 to 64 bits were expected"
        )
    if photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE):
        return samples == 1 or (samples == 2 and page.extrasamples[:1] and page.extrasamples[0] in _ALPHA)
    if photometric == PHOTOMETRIC.RGB or (photometric == PHOTOMETRIC.YCBCR and page.compression in _JPEG):
        return samples in (3, 4)
    name = getattr(photometric, "name", photometric)
    raise DecodeError(f"stores its colours as {name}, where grey, RGB or a palette was expected")


def check_data(tiff, page, most_pixels=MAX_PIXELS):
    """Hold the size that a page claims against its strips or tiles, and these against the file.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    page : tifffile.TiffPage or tifffile.TiffFrame
    most_pixels : int or None
        The most that may be claimed; None without a limit.

    Raises
    ------
    DecodeError
    """
    offsets, counts, file_size = page.dataoffsets, page.databytecounts, tiff.filehandle.size
    page = page.keyframe
    width, height = page.imagewidth, page.imagelength
    picture_bytes = height * ((width * page.samplesperpixel * page.bitspersample + 7) // 8)
    expansion = _EXPANSION.get(page.compression, _EXPANSION_OF_OTHERS)
    check_claim(width, height, picture_bytes, min(sum(counts), file_size), expansion, most_pixels=most_pixels)
    if page.is_tiled:  # of which one alone can claim more than the picture
        width, height = page.tilewidth, page.tilelength
        samples = 1 if page.axes == "SYX" else page.samplesperpixel
        tile_bytes = height * ((width * samples * page.bitspersample + 7) // 8)
        check_claim(width, height, tile_bytes, min(max(counts), file_size), expansion, unit="pixels a tile")

    expected_end = max(map(operator.add, offsets, counts))
    if expected_end > file_size:
        raise DecodeError(f"is a truncated TIFF of {file_size:,} bytes, where at least {expected_end:,} were expected")
    n_expected, n_present = math.prod(page.chunked), len(counts) - counts.count(0)
    if n_present < n_expected:
        raise DecodeError(
            f"is an incomplete TIFF with {n_present:,} strips or tiles of data, where {n_expected:,} were expected"
        )


def _palette(page):
    """Give the colour map as (N, 3) uint8; some programs fill its 16-bit entries with 8-bit values."""
    colours = page.colormap.T
    if page.dtype.kind not in "bu" or page.bitspersample > 16 or colours.shape != (2**page.bitspersample, 3):
        raise DecodeError(
            f"is a damaged TIFF with {page.dtype} pixels and a palette of shape {colours.shape}, "
            "where one entry (red, green, blue) for each possible value was expected"
        )
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _black(page, pixels):
    """Give the value that is black where 0 is white; where the type has no natural end, the largest value present."""
    if pixels.dtype == bool:
        return 255
    return 2**page.bitspersample - 1 if pixels.dtype.kind == "u" and page.bitspersample <= 16 else pixels.max()


def _as_measured(page, channels):
    if channels.dtype == bool:
        channels = channels.astype(np.uint8) * 255
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        return (
            np.array([_black(page, channels[..., index]) for index in range(channels.shape[-1])], channels.dtype)
            - channels
        )
    return channels

"""Pictures of any size, read by blocks: TIFF, BigTIFF, OME-TIFF and OME-Zarr from the file, others from memory.

What a block holds is what `read_image` gives for the whole picture, at the same place.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from segmentation.data.formats.channels import GREY, RGB, choose_channel, is_all_colours, name_channels
from segmentation.data.formats.decoded import MAX_PIXELS, Decoded, DecodeError
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.formats.planes import Place, Planes
from segmentation.data.formats.scenes import folder_beside
from segmentation.data.formats.zarr_blocks import ZarrBlocks, is_zarr
from segmentation.data.images import (
    TIFF_SIGNATURES,
    Image,
    ImageError,
    Readable,
    count_gaps,
    fill_gaps,
    image_errors,
    intensities,
)

if TYPE_CHECKING:
    from segmentation.data.formats.tiff_blocks import TiffBlocks

# Pictures up to this are predicted whole, in pixels: 8,000 x 8,000. They take some 85 bytes a pixel.
LARGEST_WHOLE = 64_000_000

# Of `LargeImage.blocks`, in pixels: whole tiles of all common sizes, and few rows, because strips are wide.
_BLOCK = 512, 16_384


class Blocks(Protocol):
    """What is read by blocks."""

    def read(self, rows: slice, columns: slice, all_channels: bool = False) -> Decoded: ...

    def close(self) -> None: ...


class Source(Blocks, Protocol):
    """A picture that is read by blocks: see `segmentation.data.formats.tiff_blocks.TiffBlocks`."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def description(self) -> Decoded: ...

    @property
    def channel_names(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, eq=False)
class LargeImage:
    """A picture that is read by blocks.

    Attributes
    ----------
    shape : (int, int)
        Height and width in pixels.
    dtype : numpy.dtype
        Of the pixels that `read` gives: uint8, uint16 or float32.
    channel_names, pixel_size_um, measured_names
        As in `segmentation.data.images.Image`.
    zarr_format : int or None
        2 or 3 where the picture is a Zarr store.
    """

    file: Readable
    shape: tuple[int, int]
    dtype: np.dtype
    channel_names: tuple[str, ...]
    pixel_size_um: PixelSize | None
    zarr_format: int | None
    measured_names: tuple[str, ...]
    _source: Blocks
    _colour: int | None  # the one that is read, of red, green and blue
    gaps: int = 0  # as in `Image`
    _background: tuple[float, ...] | None = None  # of each channel
    place: Place = ()  # as in `Image`

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Read a part of the picture; threads may do so at once.

        Parameters
        ----------
        rows, columns : slice
            With start and stop, which may lie beyond the picture: they are cut.

        Returns
        -------
        (h, w, C) ndarray of uint8, uint16 or float32
            C is the number of `channel_names`. Floats may be NaN or infinite unless the picture is `filled`.

        Raises
        ------
        ImageError
            If that part of the file is damaged, or holds values that no image has.
        """
        pixels = np.atleast_3d(self._read(rows, columns, all_channels=False))
        first = self._colour or 0
        pixels = np.ascontiguousarray(pixels[..., first : first + len(self.channel_names)], self.dtype)
        if self._background is not None and count_gaps(pixels):
            pixels = fill_gaps(pixels, np.array(self._background, np.float32))
        return pixels

    def filled(self, background: Sequence[float], gaps: int) -> "LargeImage":
        """Return the same picture with its gaps filled by the background, a value for each channel."""
        return replace(self, _background=tuple(background), gaps=gaps)

    def read_measured(self, rows: slice, columns: slice) -> np.ndarray:
        """Read all channels of a part of the picture, as `read` does: (h, w, K), K the number of `measured_names`."""
        if self.measured_names == self.channel_names:
            return self.read(rows, columns)
        return self._read(rows, columns, all_channels=True)

    def _read(self, rows: slice, columns: slice, all_channels: bool) -> np.ndarray:
        height, width = self.shape
        rows = slice(max(rows.start, 0), min(rows.stop, height))
        columns = slice(max(columns.start, 0), min(columns.stop, width))
        try:
            decoded = self._source.read(rows, columns, all_channels)
            if all_channels and decoded.channels is not None:
                return decoded.channels
            return intensities(decoded)
        except (DecodeError, OSError) as error:
            raise ImageError(f"{self.file} {error}") from error

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the blocks of the whole picture, each once: (h, w, C)."""
        height, width = self.shape
        for row in range(0, height, _BLOCK[0]):
            for column in range(0, width, _BLOCK[1]):
                yield self.read(slice(row, row + _BLOCK[0]), slice(column, column + _BLOCK[1]))

    def as_grey(self, channel: int = 0) -> "LargeImage":
        """Return the same picture with one channel, for one whose colours only show that channel."""
        return replace(self, channel_names=GREY, measured_names=GREY, _colour=channel)

    def close(self) -> None:
        """Close the file."""
        self._source.close()


class _InMemory:
    """The blocks of a picture whose format is decoded whole."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def read(self, rows: slice, columns: slice, all_channels: bool = False) -> Decoded:
        channels = self._image.all_channels if all_channels else None
        return Decoded(
            self._image.pixels[rows, columns], channels=None if channels is None else channels[rows, columns]
        )

    def close(self) -> None:
        pass


def as_large(file: Readable, image: Image) -> LargeImage:
    """Return an image that was read whole as one that is read by blocks, which take far less memory to predict.

    Examples
    --------
    >>> image = Image(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), ("grey",), None)
    >>> as_large(Path("cells.png"), image).read(slice(1, 3), slice(2, 9))[..., 0]
    array([[ 6,  7],
           [10, 11]], dtype=uint8)
    """
    return LargeImage(
        file=file,
        shape=image.pixels.shape[:2],
        dtype=image.pixels.dtype,
        channel_names=image.channel_names,
        pixel_size_um=image.pixel_size_um,
        zarr_format=None,
        measured_names=image.measured_names,
        _source=_InMemory(image),
        _colour=None,
    )


def open_large(
    file: Path, channel: str | None = None, largest_whole: int = LARGEST_WHOLE, planes: Planes | None = None
) -> LargeImage | None:
    """Open a picture by blocks if it is too large to be read whole; only the metadata are read.

    Parameters
    ----------
    file : Path
        Files in archives are read whole, whatever their size.
    channel : str, optional
        As in `read_image`.
    largest_whole : int
        Pictures of up to so many pixels are read whole, unless they are Zarr stores.
    planes : Planes, optional
        As in `read_image`, of Zarr stores too.

    Returns
    -------
    LargeImage or None
        None if the picture is to be read by `read_image`, which also reports what is wrong with other files.

    Raises
    ------
    ImageError
        As `read_image`; or the picture is both too large to be read whole and stored in strips or tiles too large to
        be read by blocks.
    """
    if not isinstance(file, Path):
        return None
    with image_errors(file):
        source = _open_source(file, channel, largest_whole, planes)
        if source is None:
            return None
        try:
            return from_source(file, source, channel)
        except BaseException:
            source.close()
            raise


def from_source(file: Readable, source: Source, channel: str | None = None) -> LargeImage:
    """Return the picture that a source holds; `file` is its name in messages. `DecodeError` where there is none."""
    pixels, stored = intensities(source.description), source.description.pixels.dtype
    names, measured, colour = RGB if pixels.ndim == 3 else GREY, source.channel_names, None
    if channel is not None and not measured and not is_all_colours(channel):
        index = choose_channel(channel, names)
        if names == RGB:
            measured, colour = name_channels(RGB, index), index
    return LargeImage(
        file=file,
        shape=source.shape,
        # Whether the others are below 0 or above 65,535 is not known before all blocks are read.
        dtype=pixels.dtype if stored.kind == "b" or stored in (np.uint8, np.uint16) else np.dtype(np.float32),
        channel_names=names if colour is None else GREY,
        pixel_size_um=source.description.pixel_size_um,
        zarr_format=source.zarr_format if isinstance(source, ZarrBlocks) else None,
        measured_names=measured or names,
        _source=source,
        _colour=colour,
    )


def _open_source(
    file: Path, channel: str | None, largest_whole: int, planes: Planes | None
) -> "TiffBlocks | ZarrBlocks | None":
    if file.is_dir():
        return ZarrBlocks(file, channel, planes) if is_zarr(file) else None
    try:
        with file.open("rb") as stream:
            if stream.read(4) not in TIFF_SIGNATURES:
                return None
    except OSError:
        return None
    # Imported here, for its 30 ms: most calls are on other files.
    from segmentation.data.formats.tiff_blocks import TiffBlocks

    try:
        source = TiffBlocks(file, channel, planes)
    except OSError:
        return None
    area = source.shape[0] * source.shape[1]
    if area > largest_whole and not source.obstacle:
        return source
    source.close()
    if area > MAX_PIXELS:
        raise DecodeError(source.obstacle)
    return None


def content_digest(file: Readable) -> str:
    """SHA-256 of a file, with the folder beside it that belongs to it, or of all files in a folder, read piecewise."""
    if not isinstance(file, Path):  # in an archive
        return hashlib.sha256(file.read_bytes()).hexdigest()
    if not file.is_dir():
        beside = folder_beside(file)
        with file.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
        return hashlib.sha256(f"{own} {content_digest(beside)}".encode()).hexdigest() if beside else own
    digest = hashlib.sha256()
    for member in sorted(path for path in file.rglob("*") if path.is_file()):
        with member.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{own}  {member.relative_to(file).as_posix()}\n".encode())
    return digest.hexdigest()

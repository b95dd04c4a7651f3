"""TIFF by blocks: any part of a plane, from the strips or tiles that it lies in, without decoding the others."""

import math
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

from segmentation.data.formats.decoded import MAX_PIXELS, Decoded, DecodeError
from segmentation.data.formats.planes import Planes
from segmentation.data.formats.streams import check_stream
from segmentation.data.formats.tiff import as_decoded, decode_errors, find_plane
from segmentation.data.formats.tiff_checks import Page, check_data
from segmentation.data.formats.tiff_pages import open_tiff
from segmentation.data.formats.tiff_samples import has_natural_white

# Decoded strips and tiles that are kept, because the next block needs them again: a row of blocks 2,000 pixels high
# and 32,768 pixels wide in 16 bits.
CACHE_BYTES = 140_000_000
# Uncompressed pictures are often one single strip, of which any rows can be read.
_ROWS_AT_ONCE = 64
# Half the side of the part in the middle that tells whether a last sample is alpha.
_MIDDLE = 512


class TiffBlocks:
    """The plane of a TIFF of any size, or one channel of it; parameters and errors are those of `decode_tiff`.

    Attributes
    ----------
    shape : (int, int)
        Height and width in pixels.
    description : Decoded
        What `read` gives, with a single pixel of zeros.
    channel_names : tuple of str
        Of all channels, where one of several is chosen.
    obstacle : str or None
        Why parts of it cannot be read, to follow the name of the file; None if they can.
    """

    def __init__(self, file: Path, channel: str | None = None, planes: Planes | None = None) -> None:
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int, int, int], np.ndarray] = OrderedDict()
        self._cached_bytes = 0
        with decode_errors():
            self._tiff = open_tiff(file)
        try:
            with decode_errors():
                self._plane = find_plane(self._tiff, channel, planes)
                for page in self._plane.pages:
                    check_data(self._tiff, self._plane.key, page, most_pixels=None)
                self._lay_out()
                self._describe()
                if self._plane.key.samplesperpixel in (2, 4) and not self.obstacle:
                    self._plane = self._plane.with_last(self._middle(), channel)
                    self._describe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()

    def _lay_out(self) -> None:
        page = self._plane.key
        self.shape = page.imagelength, page.imagewidth
        # A picture in planes of colour has its strips or tiles plane by plane.
        self._planes, self._samples = page.samplesperpixel, 1
        if page.axes != "SYX":
            self._planes, self._samples = 1, page.samplesperpixel
        # Data that lie uncompressed in one piece are read by rows.
        self._by_rows = page.is_final and not page.is_tiled
        if page.is_tiled:
            self._chunk = page.tilelength, page.tilewidth
        else:
            rows = _ROWS_AT_ONCE if self._by_rows else page.rowsperstrip
            self._chunk = min(rows, page.imagelength), page.imagewidth

    def _describe(self) -> None:
        page, alone = self._plane.key, self._plane.alone
        empty = self._as_stored(np.zeros((self._planes, 1, 1, self._samples), page.dtype))
        self.description = as_decoded(self._tiff, alone, alone.assembled(lambda page: empty))
        self.channel_names = self._plane.names
        self.obstacle = None
        if math.prod(self._chunk) > MAX_PIXELS // 4:
            self.obstacle = (
                f"stores its {page.imagewidth:,} x {page.imagelength:,} pixels in strips or tiles of more than "
                f"{MAX_PIXELS // 4:,}, where smaller ones were expected: save it as a tiled TIFF"
            )
        elif self.description.black is not None and not has_natural_white(page):
            self.obstacle = (
                f"stores {page.dtype} pixels with 0 for white, where uint8 or uint16 was expected of a picture that is "
                "read by blocks"
            )

    def _middle(self) -> np.ndarray:
        """Return a part from the middle of the picture, as stored, to tell what a sample holds."""
        rows, columns = (
            slice(max(length // 2 - _MIDDLE, 0), min(length // 2 + _MIDDLE, length)) for length in self.shape
        )
        return self._read_page(self._plane.pages[0], rows, columns)

    def _as_stored(self, block: np.ndarray) -> np.ndarray:
        """Bring (planes, H, W, samples) to the axes of the page."""
        axes = self._plane.key.axes
        return block[0, ..., 0] if axes == "YX" else block[..., 0] if axes == "SYX" else block[0]

    def read(self, rows: slice, columns: slice, all_channels: bool = False) -> Decoded:
        """Decode a part of the plane; threads may do so at once.

        Parameters
        ----------
        rows, columns : slice
            Within the picture, with start and stop.
        all_channels : bool
            Read the channels besides the chosen one, too.

        Returns
        -------
        Decoded
            Pixels ``(h, w)`` or ``(h, w, 3)``, in the dtype of the file.

        Raises
        ------
        DecodeError
            A strip or tile is damaged.
        """
        plane = self._plane if all_channels else self._plane.alone
        return as_decoded(self._tiff, plane, plane.assembled(lambda page: self._read_page(page, rows, columns)))

    def _read_page(self, page: Page, rows: slice, columns: slice) -> np.ndarray:
        height, width = self._chunk
        block = np.empty(
            (self._planes, rows.stop - rows.start, columns.stop - columns.start, self._samples), self._plane.key.dtype
        )
        for plane in range(self._planes):
            for top in range(rows.start // height * height, rows.stop, height):
                for left in range(columns.start // width * width, columns.stop, width):
                    chunk = self._read_chunk(page, plane, top // height, left // width)
                    first, last = max(top, rows.start), min(top + height, rows.stop)
                    start, stop = max(left, columns.start), min(left + width, columns.stop)
                    block[
                        plane, first - rows.start : last - rows.start, start - columns.start : stop - columns.start
                    ] = chunk[first - top : last - top, start - left : stop - left]
        return self._as_stored(block)

    def _read_chunk(self, page: Page, plane: int, down: int, across: int) -> np.ndarray:
        key = page.index, plane, down, across
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        with decode_errors():
            read = self._read_rows if self._by_rows else self._decode_chunk
            chunk = read(page, plane, down, across)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = chunk
                self._cached_bytes += chunk.nbytes
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return chunk

    def _read_bytes(self, offset: int, count: int) -> bytes:
        with self._lock:
            self._tiff.filehandle.seek(offset)
            return self._tiff.filehandle.read(count)

    def _decode_chunk(self, page: Page, plane: int, down: int, across: int) -> np.ndarray:
        n_down, n_across = (-(-whole // length) for whole, length in zip(self.shape, self._chunk, strict=True))
        index = (plane * n_down + down) * n_across + across
        count = page.databytecounts[index]
        data = self._read_bytes(page.dataoffsets[index], count)
        check_stream(data, *self._chunk)
        segment, _, shape = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=self._plane.key.jpegheader)
        # Beyond the edge of the picture a tile holds padding, which the decoder may have cut off.
        height, width = (
            min(length, whole - start * length)
            for length, whole, start in zip(self._chunk, self.shape, (down, across), strict=True)
        )
        if len(data) < count or segment is None or segment.shape[1] < height or segment.shape[2] < width:
            raise DecodeError(
                f"is a damaged TIFF whose strip or tile {index} is incomplete, where {shape} was expected"
            )
        return segment[0]

    def _read_rows(self, page: Page, plane: int, down: int, across: int) -> np.ndarray:
        first, width = down * self._chunk[0], self.shape[1]
        height = min(self._chunk[0], self.shape[0] - first)
        dtype = np.dtype(self._plane.key.dtype).newbyteorder(self._tiff.byteorder)
        row_bytes = width * self._samples * dtype.itemsize
        offset = page.dataoffsets[0] + (plane * self.shape[0] + first) * row_bytes
        data = self._read_bytes(offset, height * row_bytes)
        return np.frombuffer(data, dtype).reshape(height, width, self._samples)

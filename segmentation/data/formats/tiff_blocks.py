"""TIFF by blocks: any part of a plane, from the strips or tiles that it lies in, without decoding the others."""

import math
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import tifffile

from segmentation.data.formats.decoded import MAX_PIXELS, Decoded, DecodeError
from segmentation.data.formats.tiff import as_decoded, check_data, find_plane, undecodable

# Decoded strips and tiles that are kept, because the next block needs them again: a row of blocks 2,000 pixels high
# and 32,768 pixels wide in 16 bits.
CACHE_BYTES = 140_000_000
# Uncompressed pictures are often one single strip, of which any rows can be read.
_ROWS_AT_ONCE = 64


class TiffBlocks:
    """The plane of a TIFF of any size, or one channel of it.

    Parameters
    ----------
    file : Path
    channel : str, optional
        As `segmentation.data.formats.channels.choose_channel` takes it.

    Attributes
    ----------
    shape : (int, int)
        Height and width in pixels.
    description : Decoded
        What `read` gives, with a single pixel of zeros.
    obstacle : str or None
        Why parts of it cannot be read, a sentence without its subject: a strip or tile is larger than what may be read
        at once, or what is white follows from the whole picture alone. None if they can.

    Raises
    ------
    DecodeError
        As `decode_tiff`, except that the picture may be of any size.
    """

    def __init__(self, file: Path, channel: str | None = None):
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._cached_bytes = 0
        self._tiff = None
        try:
            self._tiff = tifffile.TiffFile(file)
            self._plane = find_plane(self._tiff, channel)
            for page in self._plane.pages:
                check_data(self._tiff, self._plane.key, page, most_pixels=None)
            self._lay_out()
        except Exception as error:  # tifffile answers damage with a dozen types
            self.close()
            if isinstance(error, (DecodeError, OSError, MemoryError)):
                raise
            raise undecodable(error) from error

    def close(self) -> None:
        """Close the file."""
        if self._tiff is not None:
            self._tiff.close()

    def _lay_out(self) -> None:
        page = self._plane.key
        self.shape = page.imagelength, page.imagewidth
        # A picture in planes of colour has its strips or tiles plane by plane.
        self._planes = page.samplesperpixel if page.axes == "SYX" else 1
        self._samples = 1 if page.axes == "SYX" else page.samplesperpixel
        # The byte order matters for data read as they lie; the decoder hands on native ones.
        self._whole = page.is_final and not page.is_tiled
        if self._whole:
            self._chunk = min(_ROWS_AT_ONCE, page.imagelength), page.imagewidth
        elif page.is_tiled:
            self._chunk = page.tilelength, page.tilewidth
        else:
            self._chunk = min(page.rowsperstrip, page.imagelength), page.imagewidth
        self._chunks_across = -(-page.imagewidth // self._chunk[1])
        self._chunks_down = -(-page.imagelength // self._chunk[0])
        # Everything about the picture except its pixels, which are put in for each block.
        empty = np.zeros((self._planes, 1, 1) if page.axes == "SYX" else (1, 1, self._samples), page.dtype)
        alone = self._plane.alone
        self.description = as_decoded(self._tiff, alone, empty[..., 0] if page.axes == "YX" else empty)
        self.channel_names = self._plane.names
        self.obstacle = self._find_obstacle()

    def _find_obstacle(self) -> str | None:
        page = self._plane.key
        if math.prod(self._chunk) > MAX_PIXELS // 4:
            return (
                f"stores its {page.imagewidth:,} x {page.imagelength:,} pixels in strips or tiles of more than "
                f"{MAX_PIXELS // 4:,}, where smaller ones were expected: save it as a tiled TIFF"
            )
        if self.description.black is not None and not _has_natural_white(page):
            return (
                f"stores {page.dtype} pixels with 0 for white, where uint8 or uint16 was expected of a picture that is "
                "read by blocks"
            )
        return None

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
        parts = [self._read_page(page, rows, columns) for page in plane.pages]
        return as_decoded(self._tiff, plane, parts[0] if len(parts) == 1 else np.stack(parts, axis=-1))

    def _read_page(self, page, rows: slice, columns: slice) -> np.ndarray:
        height, width = rows.stop - rows.start, columns.stop - columns.start
        key = self._plane.key
        block = np.empty((self._planes, height, width, self._samples), key.dtype)
        chunk_height, chunk_width = self._chunk
        for plane in range(self._planes):
            for down in range(rows.start // chunk_height, -(-rows.stop // chunk_height)):
                for across in range(columns.start // chunk_width, -(-columns.stop // chunk_width)):
                    top, left = down * chunk_height, across * chunk_width
                    chunk = self._read_chunk(page, plane, down, across)
                    here = slice(max(top, rows.start), min(top + chunk_height, rows.stop))
                    there = slice(max(left, columns.start), min(left + chunk_width, columns.stop))
                    block[
                        plane,
                        here.start - rows.start : here.stop - rows.start,
                        there.start - columns.start : there.stop - columns.start,
                    ] = chunk[here.start - top : here.stop - top, there.start - left : there.stop - left]
        pixels = block[..., 0] if key.axes == "SYX" else block[0]
        return pixels[..., 0] if key.axes == "YX" else pixels

    def _read_chunk(self, page, plane: int, down: int, across: int) -> np.ndarray:
        key = page.index, plane, down, across
        with self._lock:
            chunk = self._cache.get(key)
            if chunk is not None:
                self._cache.move_to_end(key)
                return chunk
        try:
            chunk = self._read_rows(page, plane, down) if self._whole else self._decode_chunk(page, plane, down, across)
        except (DecodeError, OSError, MemoryError):
            raise
        except Exception as error:
            raise undecodable(error) from error
        with self._lock:
            if key not in self._cache:
                self._cache[key] = chunk
                self._cached_bytes += chunk.nbytes
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return chunk

    def _decode_chunk(self, page, plane: int, down: int, across: int) -> np.ndarray:
        index = (plane * self._chunks_down + down) * self._chunks_across + across
        count = page.databytecounts[index]
        with self._lock:
            stream = self._tiff.filehandle
            stream.seek(page.dataoffsets[index])
            data = stream.read(count)
        segment, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        # Beyond the edge of the picture a tile holds padding, which the decoder may have cut off.
        expected = tuple(
            min(length, whole - start * length)
            for length, whole, start in zip(self._chunk, self.shape, (down, across), strict=True)
        )
        if len(data) < count or segment is None or segment.shape[1] < expected[0] or segment.shape[2] < expected[1]:
            raise DecodeError(
                f"is a damaged TIFF whose strip or tile {index} is incomplete, where {shape} was expected"
            )
        return segment[0]

    def _read_rows(self, frame, plane: int, down: int) -> np.ndarray:
        page = frame.keyframe
        first = down * self._chunk[0]
        height = min(self._chunk[0], page.imagelength - first)
        row_bytes = page.imagewidth * self._samples * page.dtype.itemsize
        offset = frame.dataoffsets[0] + (plane * page.imagelength + first) * row_bytes
        with self._lock:
            stream = self._tiff.filehandle
            stream.seek(offset)
            data = stream.read(height * row_bytes)
        stored = np.frombuffer(data, page.dtype.newbyteorder(self._tiff.byteorder))
        return stored.reshape(height, page.imagewidth, self._samples)


def _has_natural_white(page) -> bool:
    return page.dtype == bool or (page.dtype.kind == "u" and page.bitspersample <= 16)

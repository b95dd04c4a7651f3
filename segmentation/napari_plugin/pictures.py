"""The picture that a layer of napari shows, read by blocks as the picture of a file is."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segmentation.data.formats.channels import name_channels
from segmentation.data.formats.decoded import Decoded, DecodeError, one_line
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import Image, as_image, image_errors
from segmentation.data.large import LARGEST_WHOLE
from segmentation.prediction.engines import Stopped

# More planes without a name are a stack.
_MOST_CHANNELS = 10
_STACK_AXES, _CHANNEL_AXES = ("z", "t", "time"), ("c", "ch", "channel", "channels")


class LayerError(ValueError):
    """A layer cannot be used as asked; the message is one sentence."""


def as_sentence(reason: Exception | str) -> str:
    """Return what is wrong; the system's errors do not say it in a sentence."""
    if isinstance(reason, OSError) and reason.filename:
        return f"{reason.filename} cannot be read or written ({reason.strerror})"
    return str(reason)


def find_channels(name: str, shape: Sequence[int], rgb: bool, labels: Sequence[str]) -> int | None:
    """Return the axis of the channels of which one is to be chosen; None of a grey or an RGB picture.

    Parameters
    ----------
    name, shape, rgb, labels
        Of a layer: its name, the shape of its data, whether the last axis is red, green and blue, and the labels of the
        other axes. Besides rows and columns one axis may be longer than 1: it is that of channels unless its label says
        otherwise, or it has more than ten planes without a label.

    Raises
    ------
    LayerError
        If the layer is empty, a stack in Z or time, or has more axes.

    Examples
    --------
    >>> find_channels("cells", (1, 4, 512, 512), rgb=False, labels="tcyx")
    1
    >>> find_channels("cells", (512, 512, 3), rgb=True, labels="yx")
    """
    if 0 in shape:
        raise LayerError(f"{name} is empty (shape {tuple(shape)}), where at least one pixel was expected")
    longer = [axis for axis, length in enumerate(shape[: len(shape) - 2 - rgb]) if length > 1]
    if not longer:
        return None
    label = labels[longer[0]].strip().casefold()
    are_channels = label in _CHANNEL_AXES or (label not in _STACK_AXES and shape[longer[0]] <= _MOST_CHANNELS)
    if len(longer) == 1 and not rgb and are_channels:
        return longer[0]
    raise LayerError(
        f"{name} is a stack (shape {' x '.join(map(str, shape))}), where one plane, grey, RGB or of a few channels, "
        "was expected: right-click on the layer and choose Projections, or Split Stack"
    )


@dataclass(frozen=True, eq=False)
class LayerPicture:
    """A picture of a layer, whole or by blocks.

    Attributes
    ----------
    name : str
        Of the layer, for messages and files.
    data : array_like
        (H, W), (H, W, 3), (H, W, 4) with alpha, which is dropped, or (C, H, W), and further axes of length 1 before the
        last two or three: a NumPy, Dask or Zarr array.
    rgb : bool
        Whether the last axis is red, green and blue.
    channel : int or None
        Index of the one of C channels that shows the nuclei.
    axis : int
        The axis of the channels.
    pixel_size_um : PixelSize or None
        Height and width of a pixel in micrometres.
    stopped : threading.Event
        Once it is set, `read` raises `segmentation.prediction.engines.Stopped`.
    """

    name: str
    data: Any
    rgb: bool = False
    channel: int | None = None
    axis: int = 0
    pixel_size_um: PixelSize | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.data.shape[-3:-1] if self.rgb else self.data.shape[-2:]
        return int(height), int(width)

    @property
    def is_large(self) -> bool:
        """Whether it is to be predicted by blocks: it is not in memory, or larger than files that are read whole."""
        return not isinstance(self.data, np.ndarray) or self.shape[0] * self.shape[1] > LARGEST_WHOLE

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Of all channels, where one of several is chosen."""
        return () if self.channel is None else name_channels([None] * self.data.shape[self.axis], self.channel)

    @property
    def description(self) -> Decoded:
        """What `read` gives, with a single pixel of zeros."""
        pixels = np.zeros((1, 1, 3) if self.rgb else (1, 1), self.data.dtype)
        return Decoded(pixels, pixel_size_um=self.pixel_size_um, names=self.channel_names)

    def read(self, rows: slice, columns: slice, all_channels: bool = False) -> Decoded:
        """Read a part, as `segmentation.data.formats.tiff_blocks.TiffBlocks.read`."""
        if self.stopped.is_set():
            raise Stopped
        where: list[Any] = [0] * (self.data.ndim - 2 - self.rgb) + [rows, columns]
        if self.rgb:
            where.append(slice(0, 3))
        if self.channel is not None:
            where[self.axis] = slice(None) if all_channels else self.channel
        channels = None
        try:
            pixels = np.asarray(self.data[tuple(where)])
        except Exception as error:  # of a file behind the layer: of any kind
            raise DecodeError(f"cannot be read ({one_line(error)}), where an image was expected") from error
        if self.channel is not None and all_channels:
            channels = np.moveaxis(pixels, 0, -1)
            pixels = channels[..., self.channel]
        return Decoded(pixels, pixel_size_um=self.pixel_size_um, channels=channels, names=self.channel_names)

    def read_whole(self) -> Image:
        """Read all of it; `ImageError` where that is impossible."""
        height, width = self.shape
        with image_errors(self.name):
            return as_image(self.read(slice(0, height), slice(0, width), all_channels=True))

    def close(self) -> None:
        """Do nothing: the layer keeps its data."""

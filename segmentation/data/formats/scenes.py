"""Files of microscope vendors: scenes or positions, each with points in time, planes in Z and channels.

The libraries that read them are an extra, imported when such a file is met. What they say of a damaged file is folded
into one sentence.
"""

import errno
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import numpy as np

from segmentation.data.formats.channels import (
    GREY,
    RGB,
    SeveralChannels,
    choose_channel,
    is_all_colours,
    list_channels,
    name_channels,
)
from segmentation.data.formats.decoded import CHOOSE_SERIES, Decoded, DecodeError, Undecided, one_line
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.formats.planes import Planes, project

INSTALL = "pip install -r requirements/microscopes.txt"

# By what a file begins with: what it is, and the module that reads it.
_FORMATS = {
    b"ZISRAWFILE": ("a Zeiss CZI", "czi"),
    b"\xda\xce\xbe\x0a": ("a Nikon ND2", "nd2"),
    b"\x70\x00\x00\x00": ("a Leica LIF", "lif"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an Olympus OIB", "oib"),
    "[FileInformation]".encode("utf-16"): ("an Olympus OIF", "oib"),  # whose pictures are in the folder beside it
    "[ProfileSaveInfo]".encode("utf-16"): ("an Olympus OIF", "oib"),
}
SIGNATURES = tuple(_FORMATS)
SUFFIXES = frozenset({".czi", ".nd2", ".lif", ".oib", ".oif"})


@dataclass(frozen=True, eq=False)
class Scene:
    """One position: ``read(frame, depth, channel)`` returns a plane, (H, W), or (H, W, 3) of colours."""

    shape: tuple[int, int]
    frames: int
    depth: int
    names: Sequence[str | None]  # of the channels; of colours, red, green and blue, which `read` returns together
    pixel_size_um: PixelSize | None
    read: Callable[[int, int, int], np.ndarray]
    has_colours: bool = False

    @property
    def held(self) -> str:
        """What the scene holds, for messages."""
        counts = (self.frames, "time points"), (self.depth, "planes in Z"), (len(self.names), "channels")
        several = [f"{count} {what}" for count, what in counts if count > 1]
        return f"holds {' x '.join(several) or 'one plane'} of {self.shape[0]} x {self.shape[1]} pixels"


def folder_beside(file: Path) -> Path | None:
    """Return the folder that holds the pictures of an OIF, NAME.oif.files; None for all other files."""
    folder = file.with_name(f"{file.name}.files")
    return folder if file.suffix.lower() == ".oif" and folder.is_dir() else None


def count_frames(stream: BinaryIO) -> list[int]:
    """Return the number of points in time of each scene."""
    with _open_scenes(stream) as scenes:
        return [scene.frames for scene in scenes]


def decode_scene(stream: BinaryIO, channel: str | None, planes: Planes | None) -> Decoded:
    """Decode a plane of a file, or one channel of it; arguments as of `segmentation.data.images.read_image`.

    Raises
    ------
    DecodeError
        The file is truncated or damaged, or holds several planes or channels of which none is chosen.
    ImportError
        The library that reads the format is missing; the message names the command that installs it.
    """
    planes = planes or Planes()
    with _open_scenes(stream) as scenes:
        if planes.series is None and len(scenes) > 1:
            raise Undecided(f"holds {len(scenes)} scenes, where one picture was expected", CHOOSE_SERIES)
        number = planes.series or 0
        if number >= len(scenes):
            raise DecodeError(f"holds {len(scenes)} scenes, where a series {number + 1} was asked for (--series)")
        scene, frame = scenes[number], planes.frame or 0
        if frame >= scene.frames:
            raise DecodeError(f"{scene.held}, where a frame {frame + 1} was asked for")
        if planes.frame is None and scene.frames > 1:
            raise DecodeError(f"{scene.held}, where one plane, grey or RGB, was expected")
        depths = planes.depths(scene.depth, scene.held) if scene.depth > 1 else [0]

        def plane(index: int) -> np.ndarray:
            return project((scene.read(frame, depth, index) for depth in depths), planes.project)

        if scene.has_colours or len(scene.names) == 1:
            found = Decoded(plane(0), pixel_size_um=scene.pixel_size_um)
            if scene.has_colours or channel is None or is_all_colours(channel):
                return found
            choose_channel(channel, [scene.names[0] or GREY[0]])
            return replace(found, channels=found.pixels[..., None], names=GREY)
        if is_all_colours(channel):
            if len(scene.names) < 3:
                raise DecodeError(f"{scene.held}, where at least three were expected for --channel rgb")
            return Decoded(np.stack([plane(index) for index in range(3)], -1), pixel_size_um=scene.pixel_size_um)
        if channel is None:
            raise SeveralChannels(
                f"{scene.held}: {list_channels(scene.names)}, where one plane, grey or RGB, was expected"
            )
        chosen = choose_channel(channel, scene.names)
        channels = np.stack([plane(index) for index in range(len(scene.names))], -1)
        names = name_channels(scene.names, chosen)
        return Decoded(channels[..., chosen], pixel_size_um=scene.pixel_size_um, channels=channels, names=names)


def ranks(numbers: Iterable[int]) -> list[int]:
    """Return the different numbers that a file gives its frames, planes or channels, in order.

    Examples
    --------
    >>> ranks([4, 7, 4])
    [4, 7]
    """
    return sorted(set(numbers))


def as_names(names: Sequence[str | None], count: int, has_colours: bool) -> Sequence[str | None]:
    """Return a name, or None, for each of `count` channels; `DecodeError` if several of them have colours."""
    if has_colours and count > 1:
        raise DecodeError(f"holds {count} channels in colours, where one was expected: save each as TIFF")
    if has_colours:
        return RGB
    return names if len(names) == count else [None] * count


@contextmanager
def _open_scenes(stream: BinaryIO) -> Iterator[list[Scene]]:
    stream.seek(0)
    start = stream.read(64)
    kind, module = next(value for signature, value in _FORMATS.items() if start.startswith(signature))
    stream.seek(0)
    try:
        open_scenes: Callable[[BinaryIO], AbstractContextManager[list[Scene]]]
        open_scenes = import_module(f"segmentation.data.formats.{module}").open_scenes
    except ImportError as error:
        raise DecodeError(
            f"is {kind}, for which {error.name} is needed, which is not installed; run: {INSTALL}"
        ) from error
    try:
        with open_scenes(stream) as scenes:
            if not scenes or any(math.prod(scene.shape) == 0 for scene in scenes):
                raise DecodeError(f"is {kind} without a picture, where one was expected")
            yield scenes
    except (DecodeError, MemoryError):
        raise
    # The libraries report damage by as many types of errors as there are ways to stumble over it.
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: it names a place that cannot be
            raise
        raise DecodeError(
            f"is {kind} that cannot be decoded ({one_line(error)}), where a complete one was expected"
        ) from error

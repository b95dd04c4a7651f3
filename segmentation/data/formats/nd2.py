"""Nikon ND2, read by `nd2`: each position is a scene."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

import nd2
import numpy as np

from segmentation.data.formats.decoded import EXPANSION_OF_CODECS, DecodeError, check_claim
from segmentation.data.formats.pixel_size import credible_size
from segmentation.data.formats.scenes import Scene, as_names, ranks

_MOST_SAMPLES = 4


@contextmanager
def open_scenes(stream: BinaryIO) -> Iterator[list[Scene]]:
    """Open an ND2 and list its positions."""
    with nd2.ND2File(stream) as file:  # type: ignore[arg-type]  # any binary file will do
        check_samples(file)
        yield list_positions(file, stream.seek(0, 2))


def check_samples(file: Any) -> None:
    """Refuse an `nd2.ND2File` whose channels claim more samples than colours have: lists would be as long."""
    name = "ImageMetadataSeqLV|0"
    planes = file.unstructured_metadata(include={name})
    for key in (name, "SLxPictureMetadata", "PicturePlanes", "PlaneNew"):
        planes = planes.get(key, {})
    most = max((plane.get("CompCount", 1) for plane in planes.values()), default=1)
    if most > _MOST_SAMPLES:
        raise DecodeError(
            f"is an ND2 whose channels claim {most:,} samples, where at most {_MOST_SAMPLES} were expected"
        )


def list_positions(file: Any, n_bytes: int) -> list[Scene]:
    """List the positions of an open file of so many bytes, a `nd2.ND2File`."""
    sizes = dict(file.sizes)
    others = [f"{length} {axis}" for axis, length in sizes.items() if axis not in "PTZCYXS" and length > 1]
    if others:
        raise DecodeError(
            f"is an ND2 of {' x '.join(others)}, where positions, times, planes and channels were expected"
        )
    loops = [dict(loop) for loop in file.loop_indices] or [{}]
    coordinates = {tuple(loop.get(axis, 0) for axis in "PTZ"): index for index, loop in enumerate(loops)}
    height, width, channels, samples = sizes["Y"], sizes["X"], sizes.get("C", 1), sizes.get("S", 1)
    check_claim(width, height, height * width * channels * samples * file.dtype.itemsize, n_bytes, EXPANSION_OF_CODECS)
    names = [channel.channel.name for channel in (file.metadata.channels or [])] if file.metadata else []
    voxel = file.voxel_size()
    size = credible_size(voxel.x, voxel.y)

    def read(position: int, frame: int, depth: int, channel: int) -> np.ndarray:
        # Planes of one time lie in one frame of the file, with all channels.
        pixels = file.read_frame(coordinates[position, frame, depth]).reshape(channels, height, width, samples)
        # A copy, as the file is mapped into memory, and closed before the picture is used.
        return (pixels[channel] if samples > 1 else pixels[channel, ..., 0]).copy()

    positions, frames, depths = (ranks(place[axis] for place in coordinates) for axis in range(3))
    scene = Scene(
        shape=(height, width),
        frames=len(frames),
        depth=len(depths),
        names=as_names(names, channels, samples == 3),
        pixel_size_um=size,
        read=partial(read, 0),
        has_colours=samples == 3,
    )
    return [replace(scene, read=partial(read, position)) for position in positions]

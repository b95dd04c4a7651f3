"""Leica LIF, read by `liffile`: each image, and of a mosaic each tile, is a scene."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO
from xml.etree import ElementTree

import liffile
import numpy as np

from segmentation.data.formats.bounded import Bounded
from segmentation.data.formats.decoded import DecodeError, check_claim
from segmentation.data.formats.pixel_size import credible_size
from segmentation.data.formats.scenes import Scene, as_names


@contextmanager
def open_scenes(stream: BinaryIO) -> Iterator[list[Scene]]:
    """Open a LIF and list its images."""
    with liffile.LifFile(Bounded(stream), squeeze=False) as file:
        n_bytes = stream.seek(0, 2)
        yield [scene for image in file.images for scene in _list_tiles(image, n_bytes)]


def _list_tiles(image: Any, n_bytes: int) -> list[Scene]:
    sizes = image.sizes
    others = [f"{length} {axis}" for axis, length in sizes.items() if axis not in "MTZCYXS" and length > 1]
    if others or not {"Y", "X"} <= sizes.keys():
        raise DecodeError(
            f"is a LIF whose image {image.name!r} has the axes {dict(sizes)}, where planes of rows and columns were "
            "expected"
        )
    height, width, channels, samples = sizes["Y"], sizes["X"], sizes.get("C", 1), sizes.get("S", 1)
    check_claim(width, height, height * width * image.dtype.itemsize, n_bytes, 1)

    def read(tile: int, frame: int, depth: int, channel: int) -> np.ndarray:
        place = {"M": tile, "T": frame, "Z": depth, "C": channel}
        pixels = np.asarray(image.frame(**{axis: number for axis, number in place.items() if axis in sizes}))
        return pixels.reshape((height, width, samples) if samples > 1 else (height, width))

    description = image.xml_element.find("./Data/Image/ImageDescription")
    names = [channel.get("LUTName") or None for channel in description.iter("ChannelDescription")]
    scene = Scene(
        shape=(height, width),
        frames=sizes.get("T", 1),
        depth=sizes.get("Z", 1),
        names=as_names(names, channels, samples == 3),
        pixel_size_um=credible_size(*(_spacing(description, number) for number in "12")),
        read=partial(read, 0),
        has_colours=samples == 3,
    )
    return [replace(scene, read=partial(read, tile)) for tile in range(sizes.get("M", 1))]


def _spacing(description: ElementTree.Element, number: str) -> float:
    """Return the distance of two pixels along the dimension with a number, 1 for X and 2 for Y, in micrometres."""
    for dimension in description.iter("DimensionDescription"):
        count = int(dimension.get("NumberOfElements", 0))
        if dimension.get("DimID") == number and dimension.get("Unit") == "m" and count > 1:
            # The length goes from the centre of the first pixel to that of the last.
            return abs(float(dimension.get("Length", 0))) / (count - 1) * 1e6
    return 0.0

"""One pair of limits of the contrast for all images of a call, so that equal intensities look equal in all of them."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from segmentation.batch.inputs import Input, InputError
from segmentation.data.formats.planes import Planes
from segmentation.data.images import ImageError, count_gaps, is_special, read_image
from segmentation.data.large import open_large
from segmentation.data.normalisation import Normalisation
from segmentation.data.pictures import planes_of


def shared_limits(
    inputs: Sequence[Input], normalisation: Normalisation, channel: str | None = None, project: str | None = None
) -> tuple[float, float] | None:
    """Return the limits of all images together, as if they were one; None if none of them can be read.

    An image that cannot be read does not count; it fails when it is predicted. Each image is read once for this, and
    twice where intensities are floats.

    Raises
    ------
    InputError
        If the depths differ: 8 bits and 16 bits have no scale in common.
    """
    first: tuple[Input, np.dtype] | None = None

    def blocks() -> Iterator[np.ndarray]:
        nonlocal first
        for source in inputs:
            try:
                for pixels in _blocks(source, channel, planes_of(source.place, project)):
                    first = first or (source, pixels.dtype)
                    if pixels.dtype != first[1]:
                        raise InputError(
                            f"{source.title} holds {pixels.dtype} and {first[0].title} {first[1]}, where images of one "
                            "depth were expected for --normalise folder: predict each depth by itself"
                        )
                    # Grey ones as they are shown to the network, since those of the call may be grey and coloured.
                    yield np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            except (ImageError, OSError):
                continue

    has_any = any(True for _ in blocks())
    return normalisation.limits_of_blocks(blocks) if has_any else None


def _blocks(source: Input, channel: str | None, planes: Planes) -> Iterator[np.ndarray]:
    if isinstance(source.file, Path):
        if is_special(source.file):
            return
        large = open_large(source.file, channel, planes=planes)
        if large is not None:
            with closing(large):
                for block in large.blocks():
                    yield block[np.isfinite(block).all(axis=-1)][None] if count_gaps(block) else block
            return
    yield read_image(source.file, channel, planes).pixels

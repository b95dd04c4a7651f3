"""A picture of an image for a page: a small copy of it, and the outlines of its nuclei as SVG paths.

Paths stay sharp at any size, and the same paths draw outlines and mask, so that an image takes few kilobytes.
"""

import base64
from collections.abc import Collection

import cv2
import numpy as np

from segmentation.results.outlines import trace_outlines
from segmentation.results.overlays import neighbour_colours, stretch_contrast

# Longer sides, in pixels, of the small copy and of the label map on which the outlines are traced.
PICTURE_SIDE = 320
LABELS_SIDE = 2 * PICTURE_SIDE
COLOURS = 8  # of nuclei that are not doubtful; the colour after them is that of those that are
# Distance in pixels that a path may be from the outline. A step of one pixel along a slanted border is 0.71 deep.
_TOLERANCES = 0.75, 1.25
# The most characters of the small copy and of the paths of one image. Longer ones are made anew, the copy smaller and
# with higher compression, the outlines coarser.
_MOST_COPY, _MOST_PATHS = 8_000, 12_000
_QUALITIES = (70, 1.0), (50, 1.0), (30, 0.75)  # of the compression, and of the side


def draw_picture(
    pixels: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, int] | None = None,
    doubtful: Collection[int] = (),
) -> dict:
    """Make the picture of an image, in JSON's types.

    `pixels`, (H, W, 1 or 3) of any dtype, may be a smaller copy of an image of that `shape`, and the label map smaller
    too. Returns ``width`` and ``height`` of the image in pixels; ``image``, the small copy with stretched contrast, a
    WebP in base64; and ``outlines``, from `draw_outlines`.
    """
    height, width = shape or pixels.shape[:2]
    return {"width": width, "height": height, "image": _small_copy(pixels), "outlines": draw_outlines(labels, doubtful)}


def _small_copy(pixels: np.ndarray) -> str:
    for quality, part in _QUALITIES:
        scale = min(1.0, part * PICTURE_SIDE / max(pixels.shape[:2]))
        size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]
        small = np.atleast_3d(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        _, data = cv2.imencode(".webp", stretch_contrast(small)[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
        text = base64.b64encode(data.tobytes()).decode("ascii")
        if len(text) <= _MOST_COPY:
            break
    return text


def draw_outlines(labels: np.ndarray, doubtful: Collection[int] = ()) -> dict:
    """Trace the nuclei of a label map as SVG paths, in JSON's types.

    Returns ``paths``, one for each of up to eight colours that tell neighbours apart, a ninth for the labels that are
    `doubtful`, and ``width`` and ``height`` of
    the image in the unit of their coordinates.
    """
    step = -(-max(labels.shape) // LABELS_SIDE)
    while True:
        height, width = (round(length / step, 2) for length in labels.shape)
        for tolerance in _TOLERANCES:
            paths = _paths(labels[step // 2 :: step, step // 2 :: step], tolerance, doubtful)
            if sum(map(len, paths)) <= _MOST_PATHS:
                return {"width": width, "height": height, "paths": paths}
        step *= 2


def _paths(labels: np.ndarray, tolerance: float, doubtful: Collection[int]) -> list[str]:
    # Numbers without gaps, because colours are chosen by number.
    numbers = np.unique(labels)
    numbers = numbers[numbers > 0]
    labels = np.searchsorted(numbers, labels) + (labels > 0) * 1
    colours = neighbour_colours(labels, COLOURS)
    colours[1:][np.isin(numbers, list(doubtful))] = COLOURS
    paths = [""] * (COLOURS + 1)
    for label, polygons in trace_outlines(labels).items():
        paths[colours[label]] += "".join(_path(ring, tolerance) for polygon in polygons for ring in polygon)
    while paths and not paths[-1]:
        paths.pop()
    return paths


def _path(ring: np.ndarray, tolerance: float) -> str:
    """Return a ring as a path: its first corner, then the steps from corner to corner."""
    corners = cv2.approxPolyDP(ring, tolerance, closed=True)[:, 0]
    if len(corners) < 3:
        corners = ring
    x, y = corners[0].tolist()
    steps = "".join(
        f"{'' if dx < 0 else ' '}{dx}{'' if dy < 0 else ' '}{dy}" for dx, dy in np.diff(corners, axis=0).tolist()
    )
    return f"M{x} {y}l{steps.lstrip(' ')}z"

"""A picture of an image for a page: a small copy of it, and the outlines of its nuclei as paths.

Paths stay sharp at any size and on any screen, and one set of them draws outlines as well as the mask, so an image
costs a page little more than its small copy.
"""

import base64

import cv2
import numpy as np

from segmentation.results.outlines import trace_outlines
from segmentation.results.overlays import neighbour_colours, stretch_contrast

# Longer side of the small copy, in pixels, and of the label map that the outlines are traced on: twice as fine, as
# lines show more than pixels do.
PICTURE_SIDE = 320
LABELS_SIDE = 2 * PICTURE_SIDE
COLOURS = 8
# How far a path may leave the outline, in pixels. A step of one pixel along a slanted border is 0.71 pixels deep.
_TOLERANCES = 0.75, 1.25
# In characters: of the small copy and of the paths of one image. Noise and crowds make them longer; then the copy is
# compressed more and made smaller, and the outlines become coarser.
_MOST_COPY, _MOST_PATHS = 8_000, 12_000
_QUALITIES = (70, 1.0), (50, 1.0), (30, 0.75)  # of the compression, and of the side


def draw_picture(pixels, labels, shape=None):
    """Make the picture of an image.

    Parameters
    ----------
    pixels : (H, W, C) ndarray
        The image, or a smaller copy of it. C is 1 or 3; any dtype.
    labels : (H, W) ndarray of integers
        0 is background. It may be smaller than the image.
    shape : (int, int), optional
        Height and width of the whole image, where `pixels` is a copy.

    Returns
    -------
    dict
        ``width``, ``height``: of the image, in pixels. ``image``: the small copy with its contrast stretched, a WebP in
        base64. ``outlines``: see `draw_outlines`.
    """
    height, width = shape or pixels.shape[:2]
    return {"width": width, "height": height, "image": _small_copy(pixels), "outlines": draw_outlines(labels)}


def _small_copy(pixels):
    for quality, part in _QUALITIES:
        scale = min(1.0, part * PICTURE_SIDE / max(pixels.shape[:2]))
        size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]
        small = np.atleast_3d(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        _, data = cv2.imencode(".webp", stretch_contrast(small)[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
        text = base64.b64encode(data).decode("ascii")
        if len(text) <= _MOST_COPY:
            break
    return text


def draw_outlines(labels):
    """Trace the nuclei as SVG paths.

    Parameters
    ----------
    labels : (H, W) ndarray of integers
        0 is background.

    Returns
    -------
    dict
        ``width``, ``height``: of what the coordinates count in, from the top left corner of the image to the bottom
        right one. ``paths``: list of str, one for each of up to eight colours that tell neighbours apart; empty ones
        at the end are left out.
    """
    step = -(-max(labels.shape) // LABELS_SIDE)
    while True:
        height, width = (round(length / step, 2) for length in labels.shape)
        for tolerance in _TOLERANCES:
            paths = _paths(labels[step // 2 :: step, step // 2 :: step], tolerance)
            if sum(map(len, paths)) <= _MOST_PATHS:
                return {"width": width, "height": height, "paths": paths}
        step *= 2


def _paths(labels, tolerance):
    # Numbers without gaps: colours are chosen by number.
    numbers = np.unique(labels)
    labels = np.searchsorted(numbers[numbers > 0], labels) + (labels > 0) * 1
    colours = neighbour_colours(labels, COLOURS)
    paths = [""] * COLOURS
    for label, polygons in trace_outlines(labels).items():
        paths[colours[label]] += "".join(_path(ring, tolerance) for polygon in polygons for ring in polygon)
    while paths and not paths[-1]:
        paths.pop()
    return paths


def _path(ring, tolerance):
    """A ring as a path: where it begins, then the way from corner to corner."""
    corners = cv2.approxPolyDP(ring, tolerance, closed=True)[:, 0]
    if len(corners) < 3:
        corners = ring
    x, y = corners[0].tolist()
    steps = "".join(
        f"{'' if dx < 0 else ' '}{dx}{'' if dy < 0 else ' '}{dy}" for dx, dy in np.diff(corners, axis=0).tolist()
    )
    return f"M{x} {y}l{steps.lstrip(' ')}z"

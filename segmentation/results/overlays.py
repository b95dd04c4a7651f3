"""Draw the outlines of nuclei on the image, in colours that tell neighbours apart."""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput

if TYPE_CHECKING:  # it imports SciPy, which small images do without
    from segmentation.large.result import LargePrediction

# Visible on dark and on white background, and none of them the colour of a stain.
_PALETTE = np.array(
    [
        (255, 60, 40),  # red
        (0, 200, 80),  # green
        (255, 150, 0),  # orange
        (0, 170, 255),  # sky blue
        (200, 180, 0),  # mustard
        (0, 190, 180),  # teal
        (255, 70, 200),  # pink
        (130, 200, 0),  # lime
    ],
    dtype=np.uint8,
)

# Images with a longer side than this are scaled down on the screen, where a line of one pixel would vanish.
_LARGE_SIDE = 1024
# Longer side of the overlay of an image that was predicted by blocks.
_OVERVIEW_SIDE = 2048


def draw_overlay(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw the outline of each nucleus, just inside it, on the image with its contrast stretched: (H, W, 3) uint8, RGB.

    Lines are one pixel wide, or two if the longer side has 1,024 pixels or more. `pixels` are (H, W, C) of any dtype, C
    is 1 or 3; `labels` are (H, W) integers.
    """
    picture = stretch_contrast(pixels)
    lines = outlines(labels, width=2 if max(labels.shape) >= _LARGE_SIDE else 1)
    numbers = labels[lines]
    picture[lines] = _PALETTE[neighbour_colours(labels, len(_PALETTE))[numbers]]
    return picture


def write_overlay(file: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    """Write the result of `draw_overlay` as a PNG, whole or not at all."""
    picture = draw_overlay(pixels, labels)
    with written_whole(file) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


def write_overview(file: Path, prediction: "LargePrediction") -> Path:
    """Write the overlay of a small copy, at most 2,048 pixels a side, as ``FILE.png``; return its path.

    Small nuclei shrink to dots, which show where they are and how many, but not their outlines.
    """
    file = file.with_name(f"{file.name}.png")
    pixels, labels, _ = reduced_copy(prediction, _OVERVIEW_SIDE)
    write_overlay(file, pixels, labels)
    return file


def reduced_copy(prediction: "LargePrediction", largest_side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale an image that was predicted by blocks, and its label map, down to at most `largest_side` pixels.

    Returns averages of the pixels, (h, w, C) in the dtype of the image, and the labels of every n-th pixel in both
    directions, (h, w) integers numbered anew 0..k without gaps; and the number in the image of each of these, (k + 1,).
    """
    height, width = prediction.image.shape
    step = -(-max(height, width) // largest_side)
    pixels, labels = [], []
    band = max(512 // step, 1) * step
    for first in range(0, height, band):
        rows, columns = slice(first, min(first + band, height)), slice(0, width)
        whole = prediction.image.read(rows, columns)
        small = cv2.resize(whole, (-(-width // step), -(-whole.shape[0] // step)), interpolation=cv2.INTER_AREA)
        pixels.append(np.atleast_3d(small))
        labels.append(prediction.read(rows, columns)[::step, ::step])
    # Numbers without gaps, because colours are chosen by number.
    sparse = np.concatenate(labels)
    numbers = np.unique(np.append(sparse, 0))
    return np.concatenate(pixels), np.searchsorted(numbers, sparse), numbers


def stretch_contrast(pixels: np.ndarray) -> np.ndarray:
    """Scale an image, (H, W, 1 or 3) of any dtype, to RGB, (H, W, 3) uint8: the 0.5th percentile is 0, the 99.8th 255.

    All channels have the same limits, which keeps the hues of a stain. A constant image becomes black.
    """
    # A million values are plenty for percentiles.
    step = int(np.ceil(np.sqrt(max(1, pixels.size / 1_000_000))))
    low, high = np.percentile(pixels[::step, ::step], [0.5, 99.8]).astype(np.float32)
    scale = 255 / (high - low) if high > low else 0
    stretched = np.clip((pixels.astype(np.float32) - low) * scale, 0, 255).astype(np.uint8)
    return np.broadcast_to(stretched, (*stretched.shape[:2], 3)).copy()


def outlines(labels: np.ndarray, width: int = 1) -> np.ndarray:
    """Mark the pixels of nuclei within `width` pixels of another label or of background, (H, W) bool.

    The edge of the image is no outline: a nucleus that it cuts stays open there.
    """
    lines = np.zeros(labels.shape, bool)
    below, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    lines[1:] |= below
    lines[:-1] |= below
    lines[:, 1:] |= right
    lines[:, :-1] |= right
    if width > 1:
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        lines = cv2.dilate(lines.view(np.uint8), cross, iterations=width - 1).view(bool)
    return lines & (labels > 0)


def neighbour_colours(labels: np.ndarray, colours: int) -> np.ndarray:
    """Give each nucleus a colour that its neighbours, touching or not, do not have.

    Nuclei are neighbours if the regions of the pixels nearest to them (Voronoi regions) touch. On average, a nucleus
    has fewer than six, so that eight `colours` suffice but for rare crowds. Returns the colour of each label, from 0:
    (labels.max() + 1,) int.
    """
    chosen = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    if len(chosen) == 1:
        return chosen
    regions = _nearest_labels(labels).astype(np.int64)
    pairs = []
    for one, other in ((regions[1:], regions[:-1]), (regions[:, 1:], regions[:, :-1])):
        differ = one != other
        one, other = one[differ], other[differ]
        pairs.append(np.maximum(one, other) * len(chosen) + np.minimum(one, other))
    higher, lower = np.divmod(np.unique(np.concatenate(pairs)), len(chosen))

    # In the order of the labels: when one is given a colour, only its neighbours with lower labels have one.
    neighbours = np.split(lower, np.searchsorted(higher, np.arange(1, len(chosen))))
    for label in range(1, len(chosen)):
        taken = np.bincount(chosen[neighbours[label]], minlength=colours)
        # The least taken colour; of several, the first in an order that is another for each label, to use all colours.
        turn = (np.arange(colours) + label) % colours
        chosen[label] = turn[np.argmin(taken[turn])]
    return chosen


def _nearest_labels(labels: np.ndarray) -> np.ndarray:
    """Return the label of the nearest nucleus of each pixel."""
    _, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = labels > 0
    label_of = np.zeros(int(nearest.max()) + 1, labels.dtype)
    label_of[nearest[inside]] = labels[inside]
    return label_of[nearest]


OUTPUT = ImageOutput("overlays", ".png", lambda file, p: write_overlay(file, p.image.pixels, p.labels), write_overview)

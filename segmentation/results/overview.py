"""Draw the nuclei of an image that was predicted by blocks on a small copy of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput
from segmentation.results.overlays import draw_overlay, write_overlay

if TYPE_CHECKING:  # it imports SciPy, which small images do without
    from segmentation.large.result import LargePrediction

# Longer side in pixels, as of a screen.
LARGEST_SIDE = 2048


def write_overview(file: Path, prediction: "LargePrediction") -> Path:
    """Write the overlay of a small copy, at most 2,048 pixels a side, as ``FILE.png``; return its path.

    Small nuclei shrink to dots, which show where they are and how many, but not their outlines.
    """
    picture = draw_overlay(*reduced_copy(prediction, LARGEST_SIDE))
    file = file.with_name(f"{file.name}.png")
    with written_whole(file) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    return file


def reduced_copy(prediction: "LargePrediction", largest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image that was predicted by blocks, and its label map, down to at most `largest_side` pixels.

    Returns
    -------
    pixels : (h, w, C) ndarray
        Averages, in the dtype of the image.
    labels : (h, w) ndarray of int
        Those of every n-th pixel in both directions, numbered without gaps.
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
    return np.concatenate(pixels), np.searchsorted(np.unique(np.append(sparse, 0)), sparse)


OUTPUT = ImageOutput("overlays", ".png", lambda file, p: write_overlay(file, p.image.pixels, p.labels), write_overview)

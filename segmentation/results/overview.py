"""Draw the nuclei of a picture that was done by blocks on a small copy of it."""

from pathlib import Path

import cv2
import numpy as np

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput
from segmentation.results.overlays import draw_overlay, write_overlay

# Longer side in pixels: what a screen shows.
LARGEST_SIDE = 2048


def write_overview(file: Path, prediction) -> Path:
    """Write `draw_overlay` of a picture that was done by blocks, scaled down, as a PNG.

    The longer side has at most 2,048 pixels. Intensities are averaged, labels are those of every n-th pixel: small
    nuclei shrink to dots, which shows where they are and how many, not their outlines.

    Parameters
    ----------
    file : Path
        Without a suffix.
    prediction : segmentation.large.result.LargePrediction

    Returns
    -------
    Path
        What was written: ``FILE.png``.
    """
    picture = draw_overlay(*reduced_copy(prediction, LARGEST_SIDE))
    file = file.with_name(f"{file.name}.png")
    with written_whole(file) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    return file


def reduced_copy(prediction, largest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture that was done by blocks and its label map, scaled down.

    Parameters
    ----------
    prediction : segmentation.large.result.LargePrediction
    largest_side : int
        What the longer side has at most, in pixels.

    Returns
    -------
    pixels : (h, w, C) ndarray
        Of the picture's dtype; averages.
    labels : (h, w) ndarray of int
        Of every n-th pixel, numbered without gaps.
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
    # Numbers without gaps: colours are chosen by number, and most nuclei may be between the pixels.
    labels = np.concatenate(labels)
    return np.concatenate(pixels), np.searchsorted(np.unique(np.append(labels, 0)), labels)


OUTPUT = ImageOutput("overlays", ".png", lambda file, p: write_overlay(file, p.image.pixels, p.labels), write_overview)

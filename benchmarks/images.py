"""Read images with their true label maps, for the benchmarks of a trained model."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from segmentation.data.images import Image
from segmentation.data.layouts import find_samples
from segmentation.data.modality import kind_of
from segmentation.data.splits import read_split
from segmentation.evaluation.scores import ImageScore, set_figures


def read_images(data: Path, split: Path | None, subset: str, every: int = 1) -> list[tuple[str, Image, np.ndarray]]:
    """Return kind, image and label map of the chosen images, by kind, without images that have no nuclei."""
    rows = read_split(split) if split else None
    found = []
    for sample in find_samples(data):
        if rows is None or (sample.id in rows and rows[sample.id].subset == subset):
            image = sample.read_image()
            label_map = sample.read_labels(image.pixels.shape[:2])
            if label_map.any():
                found.append((kind_of(image.pixels), sample.id, image, label_map))
    if not found:
        sys.exit(f"{data} holds no image with nuclei" + (f" of the subset {subset} of {split}" if split else ""))
    found.sort(key=lambda entry: entry[:2])
    return [(kind, image, label_map) for kind, _, image, label_map in found[::every]]


def figures_by_kind(
    scores: list[ImageScore], images: list[tuple[str, Image, np.ndarray]], figure: str
) -> dict[str, float]:
    """Return a figure of `set_figures` for each kind of image, in the order in which the kinds come."""
    of_kind = pd.Series(scores).groupby([kind for kind, *_ in images], sort=False)
    return {kind: set_figures(list(own))[figure] for kind, own in of_kind}

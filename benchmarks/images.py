"""Images with their true label maps, for what measures a trained model on them: which, and how they are read."""

import argparse
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from segmentation.data.images import Image
from segmentation.data.layouts import find_samples
from segmentation.data.modality import kind_of
from segmentation.data.splits import read_split
from segmentation.evaluation.scores import ImageScore


def new_parser(description: str, subset: str) -> argparse.ArgumentParser:
    """A parser with the options that say which model is measured on which images."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "data" / "sample" / "test", metavar="FOLDER|ZIP")
    parser.add_argument("--split", type=Path, metavar="CSV")
    parser.add_argument("--subset", default=subset, metavar="NAME", help=f"of the split (default: {subset})")
    parser.add_argument("--model", type=Path, default=HERE / "models" / "nuclei", metavar="FOLDER")
    return parser


def read_images(data: Path, split: Path | None, subset: str, every: int = 1) -> list[tuple[str, Image, np.ndarray]]:
    """Kind, image and label map of the chosen images, by kind; images without nuclei have no diameter and are left."""
    rows = read_split(split) if split else None
    found = []
    for sample in find_samples(data):
        if rows is None or (sample.id in rows and rows[sample.id].subset == subset):
            image = sample.read_image()
            label_map = sample.read_labels(image.pixels.shape[:2])
            if label_map.any():
                found.append((kind_of(image.pixels), sample.id, image, label_map))
    found.sort(key=lambda entry: entry[:2])
    return [(kind, image, label_map) for kind, _, image, label_map in found[::every]]


def by_kind(scores: list[ImageScore], images: list[tuple[str, Image, np.ndarray]]) -> dict[str, list[ImageScore]]:
    """The scores of each kind of image, in the order in which the kinds come."""
    of_kind = {}
    for score, (kind, *_) in zip(scores, images, strict=True):
        of_kind.setdefault(kind, []).append(score)
    return of_kind

#!/usr/bin/env python3
"""Draw example.png, the picture at the top of README.md: image, mask and outlines of three test images of the Bowl.

    python docs/example.py [DATA]        # DATA: folder or zip of the data set (default: data/dsb2018)

The images belong to set BBBC038v1 of the Broad Bioimage Benchmark Collection (CC0).
"""

import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from segmentation import segment
from segmentation.data.images import read_image
from segmentation.data.layouts import find_samples
from segmentation.results.overlays import draw_overlay, stretch_contrast

# The first letters of an id, and the top left corner of the crop.
CROPS = {"a891bb": (0, 200), "ad4730": (0, 0), "1b44d2": (704, 160)}
SIZE = 256
GAP = 8


def main() -> None:
    samples = find_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data" / "dsb2018", need_masks=False)
    rows = []
    for start, (top, left) in CROPS.items():
        image = read_image(next(sample.image for sample in samples if sample.id.startswith(start)))
        labels = segment(image.pixels)
        mask = np.repeat((labels > 0).astype(np.uint8)[..., None] * 255, 3, axis=-1)
        shown = np.broadcast_to(stretch_contrast(image.pixels), (*labels.shape, 3))
        window = np.s_[top : top + SIZE, left : left + SIZE]
        gap = np.full((SIZE, GAP, 3), 255, np.uint8)
        panels = [shown[window], mask[window], draw_overlay(image.pixels, labels)[window]]
        rows += [np.hstack([panels[0], gap, panels[1], gap, panels[2]])]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    picture = np.vstack([rows[0], gap, rows[1], gap, rows[2]])
    cv2.imwrite(str(ROOT / "docs" / "example.png"), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()

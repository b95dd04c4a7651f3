#!/usr/bin/env python3
"""Draw example.png, the picture at the top of README.md: image, mask and outlines of two sample test images.

python docs/example.py
"""

import sys
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from segmentation.bundle import load_bundle
from segmentation.data.images import read_image
from segmentation.prediction.predictor import open_predictor
from segmentation.results.overlays import draw_overlay, stretch_contrast

SIZE = 256
GAP = 8

predictor = open_predictor(load_bundle(HERE.parent / "models" / "nuclei"))
rows = []
for name in ("stained_03", "fluorescence_02"):
    image = read_image(HERE.parent / "data" / "sample" / "test" / "images" / f"{name}.png")
    labels = predictor(image)
    mask = np.repeat((labels > 0).astype(np.uint8)[..., None] * 255, 3, axis=-1)
    shown = stretch_contrast(image.pixels)
    panels = [np.broadcast_to(shown, (*labels.shape, 3)), mask, draw_overlay(image.pixels, labels)]
    middle = [(length - SIZE) // 2 for length in labels.shape]
    window = tuple(slice(start, start + SIZE) for start in middle)
    gap = np.full((SIZE, GAP, 3), 255, np.uint8)
    rows.append(np.hstack([panels[0][window], gap, panels[1][window], gap, panels[2][window]]))
picture = np.vstack([rows[0], np.full((GAP, rows[0].shape[1], 3), 255, np.uint8), rows[1]])
cv2.imwrite(str(HERE / "example.png"), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])

"""Write binary masks as PNG."""

from pathlib import Path

import cv2
import numpy as np

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput
from segmentation.results.large_labels import write_large_mask


def write_mask(file: Path, labels: np.ndarray) -> None:
    """Write the foreground of an (H, W) label map, whole or not at all: 0 for background, 255 for nuclei."""
    mask = (labels > 0).astype(np.uint8) * 255
    with written_whole(file) as temporary:
        temporary.write_bytes(cv2.imencode(".png", mask)[1].tobytes())


OUTPUT = ImageOutput("masks", ".png", lambda file, p: write_mask(file, p.labels), write_large_mask)

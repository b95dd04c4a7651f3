"""Write label maps as TIFF."""

from pathlib import Path

import numpy as np
import tifffile

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput
from segmentation.results.large_labels import write_large_label_map
from segmentation.results.scale import imagej_scale


def write_label_map(file: Path, labels: np.ndarray, pixel_size_um: float | None = None) -> None:
    """Write a label map as a TIFF, compressed without loss (zlib), whole or not at all.

    Fiji and ImageJ show the scale in micrometres where the pixel size is known.

    Parameters
    ----------
    file : Path
    labels : (H, W) ndarray of integers
        0 is background, nuclei are > 0. Stored as uint16, or as uint32 where a label is above 65,535.
    pixel_size_um : float, optional
        Side of a pixel in micrometres.

    Raises
    ------
    ValueError
        If a label is negative or above 4,294,967,295.
    """
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise ValueError(f"labels hold {low} to {high}; expected 0 to {np.iinfo(np.uint32).max}.")
    with written_whole(file) as temporary:
        tifffile.imwrite(
            temporary,
            labels.astype(np.uint16 if high <= np.iinfo(np.uint16).max else np.uint32),
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            **imagej_scale(pixel_size_um),
        )


OUTPUT = ImageOutput(
    "labels", ".tif", lambda file, p: write_label_map(file, p.labels, p.image.pixel_size_um), write_large_label_map
)

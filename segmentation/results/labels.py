"""Write label maps as TIFF."""

from pathlib import Path

import numpy as np

from segmentation.batch.outputs import ImageOutput
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.results.large_labels import write_large_label_map
from segmentation.results.tiff import write_tiff


def write_label_map(file: Path, labels: np.ndarray, pixel_size_um: PixelSize | None = None) -> None:
    """Write a label map, (H, W) integers, as uint16, or as uint32 where a label is above 65,535.

    Raises
    ------
    ValueError
        If a label is negative or above 4,294,967,295.
    """
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise ValueError(f"labels hold {low} to {high}; expected 0 to {np.iinfo(np.uint32).max}.")
    write_tiff(file, labels.astype(np.uint16 if high <= np.iinfo(np.uint16).max else np.uint32), pixel_size_um)


OUTPUT = ImageOutput(
    "labels", ".tif", lambda file, p: write_label_map(file, p.labels, p.image.pixel_size_um), write_large_label_map
)

"""Write the network's probability of foreground as TIFF."""

from pathlib import Path

import numpy as np

from segmentation.batch.outputs import ImageOutput
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.results.tiff import write_tiff


def write_probabilities(file: Path, channels: np.ndarray, pixel_size_um: PixelSize | None = None) -> None:
    """Write the first of the channels, (H, W, C) float32, clipped to 0..1, as 8 bits: 255 is certain.

    Every viewer opens 8 bits; few open floats of 16 bits.
    """
    write_tiff(file, np.rint(channels[..., 0].clip(0, 1) * 255).astype(np.uint8), pixel_size_um)


OUTPUT = ImageOutput(
    "probabilities", ".tif", lambda file, p: write_probabilities(file, p.channels, p.image.pixel_size_um)
)

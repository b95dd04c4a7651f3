"""Write the network's probability of foreground."""

from pathlib import Path

import numpy as np
import tifffile

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput
from segmentation.results.scale import imagej_scale


def write_probabilities(file: Path, channels: np.ndarray, pixel_size_um: float | None = None) -> None:
    """Write the probability of foreground as an 8-bit TIFF, compressed without loss, whole or not at all.

    0 stands for 0 and 255 for 1. Every viewer opens 8 bits; few open floats of 16 bits.

    Parameters
    ----------
    file : Path
    channels : (H, W, C) ndarray of float32
        The first channel is the probability; values beyond 0 and 1 are clipped.
    pixel_size_um : float, optional
        Side of a pixel in micrometres.
    """
    levels = np.rint(channels[..., 0].clip(0, 1) * 255).astype(np.uint8)
    with written_whole(file) as temporary:
        tifffile.imwrite(
            temporary,
            levels,
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            **imagej_scale(pixel_size_um),
        )


OUTPUT = ImageOutput(
    "probabilities", ".tif", lambda file, p: write_probabilities(file, p.channels, p.image.pixel_size_um)
)

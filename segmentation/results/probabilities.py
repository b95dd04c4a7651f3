"""Write the network's probability of foreground."""

import numpy as np
import tifffile

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput
from segmentation.results.scale import imagej_scale


def write_probabilities(file, channels, pixel_size_um=None):
    """Write the probability of foreground as an 8-bit TIFF, compressed without loss: 0 is 0, 255 is 1.

    A 255th is finer than the network is certain, and every viewer opens such a file; few open half floats.

    Parameters
    ----------
    file : Path
    channels : (H, W, C) ndarray of float32
        The first is the probability.
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

"""Write the network's probability of foreground."""

import cv2
import numpy as np

from segmentation.atomic import written_whole


def write_probabilities(file, channels):
    """Write the probability of foreground as an 8-bit TIFF, compressed without loss: 0 is 0, 255 is 1.

    A 255th is finer than the network is certain, and every viewer opens such a file; few open half floats.

    Parameters
    ----------
    file : Path
    channels : (H, W, C) ndarray of float32
        The first is the probability.
    """
    levels = np.rint(channels[..., 0].clip(0, 1) * 255).astype(np.uint8)
    deflate = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE]
    with written_whole(file) as temporary:
        temporary.write_bytes(cv2.imencode(".tif", levels, deflate)[1].tobytes())

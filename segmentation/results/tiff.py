"""Write TIFF files that tell Fiji and ImageJ how large a pixel is."""

from pathlib import Path

import numpy as np
import tifffile

from segmentation.atomic import written_whole
from segmentation.data.formats.pixel_size import PixelSize


def write_tiff(file: Path, values: np.ndarray, pixel_size_um: PixelSize | None) -> None:
    """Write an (H, W) or (H, W, 3) array, grey or RGB, compressed without loss (zlib), whole or not at all."""
    options = tiff_options(pixel_size_um) | ({"photometric": "rgb"} if values.ndim == 3 else {})
    with written_whole(file) as temporary:
        tifffile.imwrite(temporary, values, **options)


def tiff_options(pixel_size_um: PixelSize | None) -> dict:
    """Return arguments of `tifffile.imwrite`; the size of a pixel, if known, is stated as ImageJ does.

    The resolution tags hold the pixels per micrometre, the description the unit. tifffile's own ``imagej=True`` takes
    neither uint32 nor compression.
    """
    options = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
    if pixel_size_um is None:
        return options
    return options | {
        "description": "ImageJ=1.11a\nimages=1\nunit=um\n",
        "resolution": (1 / pixel_size_um.width, 1 / pixel_size_um.height),
        "resolutionunit": tifffile.RESUNIT.NONE,
    }

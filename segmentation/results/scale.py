"""Tell Fiji, in a TIFF, how large a pixel is."""

import tifffile


def imagej_scale(pixel_size_um: float | None) -> dict:
    """Return the arguments of `tifffile.imwrite` that state the side of a pixel as ImageJ does; none if it is None.

    The resolution tags hold the pixels per micrometre, the description the unit. tifffile's own ``imagej=True`` takes
    neither uint32 nor compression.
    """
    if pixel_size_um is None:
        return {}
    return {
        "description": "ImageJ=1.11a\nimages=1\nunit=um\n",
        "resolution": (1 / pixel_size_um, 1 / pixel_size_um),
        "resolutionunit": tifffile.RESUNIT.NONE,
    }

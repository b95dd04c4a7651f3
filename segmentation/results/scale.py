"""Tell Fiji, in a TIFF, how large a pixel is."""

import tifffile


def imagej_scale(pixel_size_um):
    """Arguments of `tifffile.imwrite` that state the pixel size as ImageJ itself does.

    It stands in the resolution tags, in pixels per micrometre, and its unit in the description. tifffile's own
    ``imagej=True`` takes neither uint32 nor compression.

    Parameters
    ----------
    pixel_size_um : float or None
        Side of a pixel in micrometres; None if it is not known.

    Returns
    -------
    dict
        Empty if the pixel size is not known.
    """
    if pixel_size_um is None:
        return {}
    return {
        "description": "ImageJ=1.11a\nimages=1\nunit=um\n",
        "resolution": (1 / pixel_size_um, 1 / pixel_size_um),
        "resolutionunit": tifffile.RESUNIT.NONE,
    }

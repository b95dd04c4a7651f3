"""Tell the kind of microscopy of an image from its pixels."""

from functools import reduce

import cv2
import numpy as np

FLUORESCENCE, STAINED, SMEAR = KINDS = ("fluorescence", "stained", "smear")

# The picture is reduced to this many pixels along its longer side; kinds do not differ in the details.
REDUCED_SIDE = 128
# Chroma over brightness. Grey pictures stored as RGB have 0.00 (0.01 after JPEG), the palest stains 0.05.
MIN_CHROMA = 0.03
# The median brightness in the range from the darkest to the brightest. In the Bowl's images: fluorescence below 0.20,
# grey brightfield above 0.84, stained tissue above 0.52. Crowded fluorescence may be higher, but has black between its
# nuclei. An empty dark field is symmetric noise: 0.5.
LIGHT_GREY, LIGHT_COLOUR = 0.67, 0.35
# Below a tenth of the brightest is black: found between the nuclei of a dark field, nowhere in brightfield.
BLACK = 0.1


def kind_of(pixels: np.ndarray) -> str:
    """Classify an image by its background and its colour.

    The image is reduced to about 128 pixels a side. Brightness is the largest channel; its range goes from the 0.1th to
    the 99.9th percentile, so that a single nucleus counts. The image is *coloured* if the mean difference of the
    largest and the smallest channel exceeds 0.03 of the mean brightness. The background is *dark* if the median is
    below two thirds of the range in a grey image, or below 0.35 of it in a coloured one, or if a twentieth of a
    coloured image is below a tenth of the brightest. Then

    - dark: "fluorescence", bright nuclei on dark, in any colour;
    - light and coloured: "stained", dark nuclei in tissue or cells;
    - light and grey: "smear", grey brightfield.

    An image of one single value is "fluorescence".

    Parameters
    ----------
    pixels : (H, W) or (H, W, 1) or (H, W, 3) ndarray of any real dtype
        The whole image at native depth; only ratios matter, so 12 bits in 16 give the same result.

    Returns
    -------
    str
        "fluorescence", "stained" or "smear".

    Examples
    --------
    >>> import numpy as np
    >>> page = np.full((64, 64, 1), 220, np.uint8)
    >>> page[20:30, 20:30] = 60
    >>> kind_of(page), kind_of(255 - page)
    ('smear', 'fluorescence')
    """
    height, width = pixels.shape[:2]
    step = max(1, -(-max(height, width) // REDUCED_SIDE))
    size = (max(1, width // step), max(1, height // step))
    reduced = np.atleast_3d(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)).astype(np.float32)
    channels = cv2.split(reduced)  # maxima along the short last axis take NumPy twenty times as long
    brightness = reduce(np.maximum, channels)
    lowest, dark, median, highest = np.percentile(brightness, (0.1, 5, 50, 99.9))
    if highest <= lowest:
        return FLUORESCENCE
    # Background subtraction leaves negative floats; chroma and black are relative to a black of 0.
    black = min(0.0, float(lowest))
    chroma = (brightness - reduce(np.minimum, channels)).mean() / max(float(brightness.mean()) - black, 1e-12)
    position = (median - lowest) / (highest - lowest)
    if chroma <= MIN_CHROMA:
        return SMEAR if position >= LIGHT_GREY else FLUORESCENCE
    has_black = dark - black < BLACK * (highest - black)
    return STAINED if position >= LIGHT_COLOUR and not has_black else FLUORESCENCE

"""Decide from the pixels what kind of microscopy a picture is."""

import cv2
import numpy as np

FLUORESCENCE, STAINED, SMEAR = KINDS = ("fluorescence", "stained", "smear")

# Pixels along the longer side of what is looked at: kinds differ in what most of a picture looks like, not in detail.
REDUCED_SIDE = 128
# Chroma over brightness. Grey pictures stored as RGB have 0.00 (0.01 after JPEG), the palest stains 0.05.
MIN_CHROMA = 0.03
# Where the median lies between the darkest and the brightest. In the Bowl's images: fluorescence below 0.20, grey
# brightfield above 0.84, stained tissue above 0.52. Crowded fluorescence comes higher, but in colour it has black; a
# dark field without any nucleus is noise, which is symmetric: 0.5.
LIGHT_GREY, LIGHT_COLOUR = 0.67, 0.35
# A tenth of the brightest: black, which a lamp behind the slide leaves nowhere but a dark field has between its nuclei.
BLACK = 0.1


def kind_of(pixels: np.ndarray) -> str:
    """Classify a picture by its background and its colour.

    Reduce the picture to about 128 pixels a side, each the mean of a square, and take the median, the 0.1th and the
    99.9th percentile of their brightness (the largest channel): wide enough for a single nucleus to show. The
    background is *dark* if the median lies below two thirds of the range between the percentiles in a grey picture,
    below 0.35 of it in a coloured one, or if a coloured picture has a twentieth of its pixels below a tenth of the
    brightest. A picture is *coloured* if the mean difference of the largest and the smallest channel exceeds 0.03 of
    the mean brightness. Then

    - dark: "fluorescence", bright nuclei on dark, in whatever colour;
    - light and coloured: "stained", dark nuclei in tissue or cells;
    - light and grey: "smear", grey brightfield.

    A picture of one single value is "fluorescence": there is no light background in it that would show anything.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 1) or (H, W, 3) ndarray of any real dtype
        The whole picture at native depth; only ratios matter, so a 12-bit picture in 16 bits is judged alike.

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
    brightness = reduced.max(axis=2)
    lowest, dark, median, highest = np.percentile(brightness, (0.1, 5, 50, 99.9))
    if highest <= lowest:
        return FLUORESCENCE
    # Background subtraction leaves negative floats; chroma and black are relative to a black of 0.
    black = min(0.0, float(lowest))
    chroma = (brightness - reduced.min(axis=2)).mean() / max(float(brightness.mean()) - black, 1e-12)
    position = (median - lowest) / (highest - lowest)
    if chroma <= MIN_CHROMA:
        return SMEAR if position >= LIGHT_GREY else FLUORESCENCE
    has_black = dark - black < BLACK * (highest - black)
    return STAINED if position >= LIGHT_COLOUR and not has_black else FLUORESCENCE

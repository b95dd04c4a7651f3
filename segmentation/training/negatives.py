"""Images without nuclei, so that a network learns that there are such."""

import cv2
import numpy as np

from segmentation.data.normalisation import Normalisation


def draw_negative(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw what a camera gives where nothing is: one intensity, one colour, or noise of some grain on uneven light.

    Normalisation stretches noise to the full range when there is nothing else, and the channels of one single colour as
    soon as a speck is on it, so this is what the network sees of an empty field.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Height and width, in pixels.

    Returns
    -------
    (size, size, 3) ndarray of uint8
    """
    if rng.random() < 0.2:
        if rng.random() < 0.7:
            return np.full((size, size, 3), rng.integers(256), np.uint8)
        colour = rng.random(3)
        return np.full((size, size, 3), np.rint((colour - colour.min()) / np.ptp(colour) * 255), np.uint8)
    coloured = rng.random() < 0.2
    noise = rng.normal(size=(size, size, 3 if coloured else 1)).astype(np.float32)
    grain = rng.uniform(0, 2.5)
    if grain > 0.4:
        noise = np.atleast_3d(cv2.GaussianBlur(noise, (0, 0), grain))
    light = cv2.resize(rng.normal(size=(3, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return _normalised(noise / noise.std() + rng.uniform(0, 2) * light[..., None])


def _normalised(field: np.ndarray) -> np.ndarray:
    normalisation = Normalisation()
    return np.rint(normalisation.apply(field, normalisation.limits(field)) * 255).astype(np.uint8)

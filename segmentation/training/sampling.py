"""How often a training draws each image. Imports no framework, so that the notebook can show it."""

import numpy as np


def draw_probabilities(kinds: list[str], areas: list[int]) -> np.ndarray:
    """Return the probability, (N,) float64, with which each image is drawn, of images of these kinds and areas.

    A kind of image (fluorescence, stained, smear) is drawn in proportion to the square root of its number of images; of
    that kind, an image in proportion to the square root of its area, in pixels. A kind with a fiftieth of the images so
    makes up about a tenth of the crops: often enough to be learnt, too seldom to be learnt by heart.

    Examples
    --------
    >>> draw_probabilities(["fluorescence"] * 4 + ["stained"], [100] * 5).round(3).tolist()
    [0.167, 0.167, 0.167, 0.167, 0.333]
    """
    _, kind, count = np.unique(kinds, return_inverse=True, return_counts=True)
    weights = np.sqrt(areas)
    weights *= (np.sqrt(count) / np.bincount(kind, weights))[kind]
    return weights / weights.sum()


def draw_images(probabilities: np.ndarray, crops: int, rng: np.random.Generator) -> np.ndarray:
    """Return the index of the image that each crop of an epoch is cut from, in random order.

    Each image is drawn as often as its probability says, give or take less than one: few are left out.
    """
    quantiles = (np.arange(crops) + rng.random()) / crops
    drawn = np.searchsorted(np.cumsum(probabilities), quantiles * probabilities.sum(), side="right")
    return rng.permutation(drawn.clip(0, len(probabilities) - 1))


def as_network_input(pixels: np.ndarray) -> np.ndarray:
    """Scale normalised pixels, (..., 3) uint8, to what networks take: float32 in [0, 1]."""
    return pixels.astype(np.float32) / 255

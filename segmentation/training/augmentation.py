"""Augmentation by albumentations: image and label map together, and fields without nuclei."""

import os
from threading import local

# albumentations asks the package index for a newer version when it is imported; training must not need a network.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import cv2
import numpy as np

from segmentation.data.normalisation import Normalisation
from segmentation.training.stains import change_stain
from segmentation.training.tissue import median_diameter

# For Downscale: nearest neighbours, its default, move the image by up to a pixel and a half.
_SMOOTH = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}

# Median diameters of nuclei in crops in other stains, in pixels: of lymphocytes at low, of tumours at high resolution.
_DIAMETERS = (12, 60)


class Augmentation:
    """Cut a random square out of an image, resize it to the crop size, and change how it looks.

    The label map goes through the same geometry: position, scale, the eight symmetries of the square, elastic
    deformation. Brightness, contrast, gamma, hue, blur, noise and inversion change the image alone. Inversion and loss
    of colour give kinds of image that the data do not hold, such as dark nuclei on light without colour. One crop in
    fifty is an empty field instead, see `draw_empty_field`. Some are drawn in other stains, see
    `segmentation.training.stains.change_stain`, with more zoom, and stretched in one direction.

    One object serves any number of threads.

    Parameters
    ----------
    crop_size : int
        Height and width of the result, in pixels.
    zoom : (float, float)
        Least and greatest magnification, drawn evenly in the logarithm. Small images are magnified more.
    empty : float
        Probability of an empty field.
    stains : float
        Probability of another stain.

    Examples
    --------
    >>> import numpy as np
    >>> label_map = np.zeros((100, 120), np.int32)
    >>> label_map[20:60, 30:80] = 1
    >>> image = np.uint8(200 * (label_map > 0))[..., None].repeat(3, axis=-1)
    >>> crop, crop_labels = Augmentation(64)(image, label_map, np.random.default_rng(0))
    >>> crop.shape, crop.dtype, crop_labels.shape, crop_labels.dtype
    ((64, 64, 3), dtype('uint8'), (64, 64), dtype('int32'))
    """

    def __init__(
        self, crop_size: int, zoom: tuple[float, float] = (0.7, 1.5), empty: float = 0.02, stains: float = 0.0
    ):
        self.crop_size = crop_size
        self.zoom = zoom
        self.empty = empty
        self.stains = stains
        self._of_thread = local()

    def __getstate__(self) -> dict:
        """Leave out the transforms: a process to which this object is sent makes its own."""
        return {name: value for name, value in vars(self).items() if name != "_of_thread"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _of_thread=local())

    @property
    def _compose(self) -> A.Compose:
        """The transforms of the calling thread: each call seeds them."""
        if not hasattr(self._of_thread, "compose"):
            blur = A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.0))
            coarse = A.Downscale((0.5, 0.9), interpolation_pair=_SMOOTH)
            self._of_thread.compose = A.Compose(
                [
                    A.D4(p=1),
                    A.ElasticTransform(alpha=30, sigma=6, border_mode=cv2.BORDER_REFLECT_101, p=0.2),
                    A.InvertImg(p=0.08),
                    A.ToGray(p=0.1),
                    A.HueSaturationValue(hue_shift_limit=30, sat_shift_limit=40, val_shift_limit=0, p=0.4),
                    A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.25, p=0.6),
                    A.RandomGamma(gamma_limit=(50, 200), p=0.5),
                    A.OneOf([blur, coarse], p=0.2),
                    # The channels of a grey image have the same noise, so averaging them must not take it away.
                    A.GaussNoise(std_range=(0.01, 0.15), per_channel=False, p=0.25),
                ]
            )
        return self._of_thread.compose

    def __call__(
        self, image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return an augmented crop, (S, S, 3) uint8, and its label map, (S, S) int32; `rng` gives all the randomness.

        The image, (H, W, 3) uint8, is normalised; it and its label map, (H, W) int32, are of any size.
        """
        if rng.random() < self.empty:
            return draw_empty_field(rng, self.crop_size), np.zeros((self.crop_size, self.crop_size), np.int32)
        is_restained = self.stains > 0 and rng.random() < self.stains
        zoom = self.zoom
        if is_restained:
            diameter = median_diameter(label_map) or 20
            # Outlines magnified further would have steps.
            zoom = (_DIAMETERS[0] / diameter, min(_DIAMETERS[1] / diameter, 3.0))
        side = min(round(self.crop_size / np.exp(rng.uniform(*np.log(zoom)))), *image.shape[:2])
        height, width = (max(round(side / rng.uniform(1, 1.6)), 1), side) if is_restained else (side, side)
        top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
        window = np.s_[top : top + height, left : left + width]
        size = (self.crop_size, self.crop_size)
        interpolation = cv2.INTER_AREA if side > self.crop_size else cv2.INTER_LINEAR
        image = cv2.resize(image[window], size, interpolation=interpolation)
        # float32 holds every label up to 16 million exactly, and is what OpenCV can remap.
        label_map = cv2.resize(label_map[window].astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
        if is_restained:
            image, label_map = change_stain(image, label_map.astype(np.int32), rng)
        compose = self._compose
        compose.set_random_seed(int(rng.integers(2**32)))
        augmented = compose(image=image, mask=label_map.astype(np.float32))
        return augmented["image"], augmented["mask"].astype(np.int32)


def draw_empty_field(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw what the network sees of an empty field, (size, size, 3) uint8: one colour, or noise on uneven light.

    Normalisation stretches noise to the full range where there is nothing else, and the channels of a single colour as
    soon as a speck is on it.
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
    field = noise / noise.std() + rng.uniform(0, 2) * light[..., None]
    normalisation = Normalisation()
    return np.rint(normalisation.apply(field, normalisation.limits(field)) * 255).astype(np.uint8)

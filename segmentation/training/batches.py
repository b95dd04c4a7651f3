"""What each batch of a training holds. Imports no framework, for the processes that draw the batches."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segmentation.data.cache import CachedImages
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.sampling import as_network_input, draw_images, draw_probabilities

#: ``(pixels (H, W, 3) uint8, label map (H, W) int32, rng) -> (crop, label map)``, of equal sizes for all images.
Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class CropBatches:
    """Batches of augmented crops and their target channels.

    Each crop is a function of ``(seed, epoch, its place in the epoch)`` alone, whoever draws it and in which order.
    Images are drawn by `segmentation.training.sampling.draw_probabilities`. An epoch has at least 16 batches, so that
    with few images it takes longer than its validation. Of several hosts, each draws its own part of every batch.

    ValueError if there are no images, or if `targets` is no key of `segmentation.targets.encodings.ENCODINGS`.
    """

    images: CachedImages
    targets: str
    augmentation: Augment
    batch_size: int
    seed: int
    host: int = 0
    hosts: int = 1

    def __post_init__(self) -> None:
        check(self.images, self.targets)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return max(-(-len(self.images) // self.batch_size), 16)

    @cached_property
    def _probabilities(self) -> np.ndarray:
        return draw_probabilities(self.images.kinds, self.images.areas)

    def draw_epoch(self, epoch: int) -> np.ndarray:
        """Return the index of the image that each crop of an epoch is cut from."""
        return draw_images(self._probabilities, len(self) * self.batch_size, np.random.default_rng((self.seed, epoch)))

    def draw(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch of an epoch: images (B, H, W, 3) float32 in [0, 1], targets (B, H, W, C) float32."""
        drawn = self.draw_epoch(epoch)
        part = self.batch_size // self.hosts
        first = index * self.batch_size + self.host * part
        places = range(first, first + part)
        images, targets = zip(*(self._crop(epoch, place, drawn[place]) for place in places), strict=True)
        return np.stack(images), np.stack(targets)

    def _crop(self, epoch: int, place: int, image: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch, place))
        pixels, label_map = self.augmentation(self.images.pixels(image), self.images.label_map(image), rng)
        return as_network_input(pixels), ENCODINGS[self.targets].encode(label_map)


def check(images: CachedImages, targets: str) -> None:
    """Raise ValueError if there are no images, or no such targets."""
    if not len(images):
        raise ValueError("images holds none, expected at least one")
    if targets not in ENCODINGS:
        raise ValueError(f"targets must be one of {', '.join(ENCODINGS)}, got {targets!r}")

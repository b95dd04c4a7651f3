"""Batches for training, drawn and augmented the same way whatever the number of threads."""

from concurrent.futures import ThreadPoolExecutor
from threading import local

import keras
import numpy as np

from segmentation.data.cache import CachedImages
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.augmentation import Augmentation


class NucleiSequence(keras.utils.Sequence):
    """Batches of augmented crops and their target channels.

    Every crop is a function of ``(seed, epoch, its place in the epoch)`` alone: the same seed gives the same batches
    with any number of threads, and a resumed training goes on with the batches that it would have had. Set `epoch`
    before each epoch (`segmentation.training.callbacks.EpochSetter` does): Keras does not tell a dataset which
    epoch it resumes with.

    How images are drawn: a kind of image (fluorescence, stained, smear) in proportion to the square root of how many
    images it has, then an image of it, in proportion to the square root of its area. A kind with a fiftieth of the
    images so makes up about a tenth of the crops: often enough to be learnt, too seldom to be learnt by heart; and of
    a large image, which has more to show, more is seen. The draws of an epoch are evenly spaced over the images and
    then shuffled, so an epoch leaves out as few images as possible.

    Parameters
    ----------
    images : CachedImages
    targets : str
        Name of the target encoding.
    batch_size : int
    crop_size : int
        Height and width of the crops in pixels; divisible by ``2 ** depth`` of the network.
    seed : int
    workers : int
        Threads that augment. The threads are this class's own: Keras' loader queues keep batches from one epoch to
        the next.
    augmentation : callable, optional
        Makes the augmentation of one thread; by default ``Augmentation(crop_size)``.
    """

    def __init__(
        self,
        images: CachedImages,
        targets: str,
        *,
        batch_size: int = 8,
        crop_size: int = 256,
        seed: int = 0,
        workers: int = 2,
        augmentation=None,
    ):
        super().__init__(workers=1, use_multiprocessing=False)
        self.images = images
        self.targets = ENCODINGS[targets]
        self.batch_size = batch_size
        self.crop_size = crop_size
        self.seed = seed
        self.epoch = 0
        self._new_augmentation = augmentation or (lambda: Augmentation(crop_size))
        self._per_thread = local()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="augmentation")
        self._probabilities = draw_probabilities(images.kinds, images.areas)

    def __len__(self) -> int:
        # A few images still make an epoch long enough that validation does not take most of the time.
        return max(-(-len(self.images) // self.batch_size), 16)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch `index` of the current epoch.

        Returns
        -------
        images : (batch_size, crop_size, crop_size, 3) ndarray of float32, in [0, 1]
        targets : (batch_size, crop_size, crop_size, C) ndarray of float32
        """
        places = range(index * self.batch_size, (index + 1) * self.batch_size)
        drawn = self.draw_epoch(self.epoch)[places]
        crops = list(self._pool.map(self._crop, [self.epoch] * self.batch_size, places, drawn))
        return np.stack([image for image, _ in crops]), np.stack([targets for _, targets in crops])

    def draw_epoch(self, epoch: int) -> np.ndarray:
        """Return the index of the image that each crop of an epoch is cut from."""
        crops = len(self) * self.batch_size
        rng = np.random.default_rng((self.seed, epoch))
        quantiles = (np.arange(crops) + rng.random()) / crops
        drawn = np.searchsorted(np.cumsum(self._probabilities), quantiles * self._probabilities.sum(), side="right")
        return rng.permutation(drawn.clip(0, len(self.images) - 1))

    def _crop(self, epoch: int, place: int, image: int) -> tuple[np.ndarray, np.ndarray]:
        if not hasattr(self._per_thread, "augmentation"):
            self._per_thread.augmentation = self._new_augmentation()
        rng = np.random.default_rng((self.seed, epoch, place))
        pixels, label_map = self._per_thread.augmentation(self.images.pixels(image), self.images.label_map(image), rng)
        return pixels.astype(np.float32) / 255, self.targets.encode(label_map)


def draw_probabilities(kinds: list[str], areas: list[int]) -> np.ndarray:
    """Give each image its chance of being drawn: a kind has the square root of its share, and so has an area in it.

    Parameters
    ----------
    kinds : list of str
        The kind of each image.
    areas : list of int
        The area of each image, in pixels.

    Returns
    -------
    (N,) ndarray of float64
        Sums to 1.
    """
    _, kind, count = np.unique(kinds, return_inverse=True, return_counts=True)
    weights = np.sqrt(areas)
    weights *= (np.sqrt(count) / np.bincount(kind, weights))[kind]
    return weights / weights.sum()

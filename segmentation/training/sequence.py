"""Batches for ``model.fit``: augmented crops to train on, the centre of each image to validate on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import keras
import numpy as np

from segmentation.data.cache import CachedImages
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.augmentation import Augmentation
from segmentation.training.sampling import as_network_input, draw_images, draw_probabilities


class NucleiSequence(keras.utils.Sequence):
    """Batches of augmented crops and their target channels, for ``model.fit``.

    Each crop is a function of ``(seed, epoch, its place in the epoch)`` alone: the same seed gives the same batches
    with any number of threads, and a resumed training continues with the batches that it would have had. Images are
    drawn by `segmentation.training.sampling.draw_probabilities`. An epoch has at least 16 batches, so that with few
    images it takes longer than its validation.

    Keras does not tell a sequence the `epoch`: add `segmentation.training.callbacks.EpochSetter` to the callbacks, or
    each epoch has the batches of the first.

    Parameters
    ----------
    images : CachedImages
    targets : str
        Target encoding, a key of `segmentation.targets.encodings.ENCODINGS`; ValueError if it is none.
    augmentation : callable, optional
        ``(pixels (H, W, 3) uint8, label map (H, W) int32, rng) -> (crop, label map)``, of equal sizes for all images;
        called by several threads at once. By default ``Augmentation(crop_size)``.
    batch_size : int
    crop_size : int
        Height and width in pixels, if `augmentation` is not given; a multiple of ``2 ** depth`` of the network.
    seed : int
    workers : int
        Threads that augment. They are this class's own: Keras' loader queues keep batches from one epoch to the next.

    Examples
    --------
    >>> import numpy as np
    >>> from segmentation.data.cache import CachedImages
    >>> label_map = np.zeros((64, 64), np.int32)
    >>> label_map[8:24, 8:24], label_map[30:50, 20:44] = 1, 2
    >>> image = np.random.default_rng(0).normal(40 + 120 * (label_map > 0), 5).astype(np.uint8)
    >>> sequence = NucleiSequence(CachedImages.from_arrays([image], [label_map]), "foreground", crop_size=32)
    >>> crops, targets = sequence[0]
    >>> len(sequence), crops.shape, targets.shape, targets.dtype
    (16, (8, 32, 32, 3), (8, 32, 32, 1), dtype('float32'))
    """

    def __init__(
        self,
        images: CachedImages,
        targets: str,
        *,
        augmentation: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None,
        batch_size: int = 8,
        crop_size: int = 256,
        seed: int = 0,
        workers: int = 2,
    ):
        super().__init__(workers=1, use_multiprocessing=False)
        self.images, self.encode = images, _encoder(images, targets)
        self.augmentation = augmentation or Augmentation(crop_size)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="augmentation")
        self._probabilities = draw_probabilities(images.kinds, images.areas)

    def __len__(self) -> int:
        return max(-(-len(self.images) // self.batch_size), 16)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch `index` of `epoch`: images (B, H, W, 3) float32 in [0, 1], targets (B, H, W, C) float32."""
        places = range(index * self.batch_size, (index + 1) * self.batch_size)
        crops = self._pool.map(self._crop, repeat(self.epoch), places, self.draw_epoch(self.epoch)[places])
        images, targets = zip(*crops, strict=True)
        return np.stack(images), np.stack(targets)

    def draw_epoch(self, epoch: int) -> np.ndarray:
        """Return the index of the image that each crop of an epoch is cut from."""
        return draw_images(self._probabilities, len(self) * self.batch_size, np.random.default_rng((self.seed, epoch)))

    def _crop(self, epoch: int, place: int, image: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch, place))
        pixels, label_map = self.augmentation(self.images.pixels(image), self.images.label_map(image), rng)
        return as_network_input(pixels), self.encode(label_map)


class CenterCrops(keras.utils.Sequence):
    """The centre of each image at native size, not augmented, with its target channels, for ``validation_data``.

    Whole images are scored after the training. An image smaller than `crop_size`, in pixels, is extended by reflection,
    its label map by background.

    Examples
    --------
    >>> import numpy as np
    >>> from segmentation.data.cache import CachedImages
    >>> image, label_map = np.zeros((40, 60), np.uint8), np.eye(40, 60, dtype=np.int32)
    >>> validation = CenterCrops(CachedImages.from_arrays([image], [label_map]), "foreground", crop_size=32)
    >>> crops, targets = validation[0]
    >>> crops.shape, targets.shape
    ((1, 32, 32, 3), (1, 32, 32, 1))
    """

    def __init__(self, images: CachedImages, targets: str, *, batch_size: int = 8, crop_size: int = 256):
        super().__init__(workers=1, use_multiprocessing=False)
        encode, indices = _encoder(images, targets), range(len(images))
        self._batch_size = batch_size
        self._images = np.stack([center_crop(images.pixels(index), crop_size, "symmetric") for index in indices])
        self._targets = [encode(center_crop(images.label_map(index), crop_size, "constant")) for index in indices]

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch `index`: images (B, H, W, 3) float32 in [0, 1], targets (B, H, W, C) float32."""
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return as_network_input(self._images[batch]), np.stack(self._targets[batch])


def center_crop(array: np.ndarray, size: int, padding: str) -> np.ndarray:
    """Cut the centre out of an (H, W, ...) array, (size, size, ...), padded where the array is smaller."""
    missing = [max(size - length, 0) for length in array.shape[:2]]
    widths = [(short // 2, short - short // 2) for short in missing] + [(0, 0)] * (array.ndim - 2)
    array = np.pad(array, widths, mode=padding)  # type: ignore[call-overload]  # it takes any name of a mode
    top, left = ((length - size) // 2 for length in array.shape[:2])
    return array[top : top + size, left : left + size]


def feed(sequence: keras.utils.Sequence) -> object:
    """Return what to give to ``model.fit`` in place of a sequence: the same batches, but no epoch ends with a wait.

    Under TensorFlow, Keras draws the batches of a sequence through ``tf.data`` with its tuning thread on, which sleeps
    for up to a minute at a time, and the end of an epoch waits for it (TensorFlow 2.21, Keras 3.15: 50 s of waiting
    after 60 s of work). Here it is off; there is nothing to tune. Other backends get the sequence itself.
    """
    if keras.backend.backend() != "tensorflow":
        return sequence
    import tensorflow as tf

    images, targets = sequence[0]
    dataset = tf.data.Dataset.from_generator(
        lambda: (sequence[index] for index in range(len(sequence))),
        output_signature=tuple(tf.TensorSpec((None, *batch.shape[1:]), tf.float32) for batch in (images, targets)),
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.apply(tf.data.experimental.assert_cardinality(len(sequence))).prefetch(2).with_options(options)


def _encoder(images: CachedImages, targets: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the encoding by its name, after a check of what a sequence is made of."""
    if not len(images):
        raise ValueError("images holds none, expected at least one")
    if targets not in ENCODINGS:
        raise ValueError(f"targets must be one of {', '.join(ENCODINGS)}, got {targets!r}")
    return ENCODINGS[targets].encode

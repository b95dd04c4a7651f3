"""Batches for ``model.fit``: augmented crops to train on, the centre of each image to validate on."""

from typing import Self

import keras
import numpy as np

from segmentation.data.cache import CachedImages
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.augmentation import Augmentation
from segmentation.training.batches import Augment, CropBatches, check
from segmentation.training.devices import ONE_DEVICE, Devices
from segmentation.training.sampling import as_network_input
from segmentation.training.workers import WorkerProcesses


class NucleiSequence(keras.utils.Sequence):
    """Batches of augmented crops and their target channels, for ``model.fit``.

    Each crop is a function of ``(seed, epoch, its place in the epoch)`` alone: the same seed gives the same batches
    with any number of workers, and a resumed training continues with the batches that it would have had. See
    `segmentation.training.batches.CropBatches`.

    Keras does not tell a sequence the `epoch`: add `segmentation.training.callbacks.EpochSetter` to the callbacks, or
    each epoch has the batches of the first.

    Parameters
    ----------
    images : CachedImages
    targets : str
        Target encoding, a key of `segmentation.targets.encodings.ENCODINGS`; ValueError if it is none.
    augmentation : callable, optional
        ``(pixels (H, W, 3) uint8, label map (H, W) int32, rng) -> (crop, label map)``, of equal sizes for all images.
        By default ``Augmentation(crop_size)``.
    batch_size : int
    crop_size : int
        Height and width in pixels, if `augmentation` is not given; a multiple of ``2 ** depth`` of the network.
    seed : int
    workers : int
        Processes that draw the batches, see `segmentation.training.workers.WorkerProcesses`. They end with a ``with``
        block of the sequence, with `close`, or with this process. Without any, this process draws them.
    devices : Devices
        Of several hosts, each draws its part of every batch.

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
        augmentation: Augment | None = None,
        batch_size: int = 8,
        crop_size: int = 256,
        seed: int = 0,
        workers: int = 0,
        devices: Devices = ONE_DEVICE,
    ):
        # Keras' own loader queues would keep batches from one epoch to the next.
        super().__init__(workers=1, use_multiprocessing=False)
        augmentation = augmentation or Augmentation(crop_size)
        self.batches = CropBatches(images, targets, augmentation, batch_size, seed, devices.host, devices.hosts)
        self.epoch = 0
        self._processes = WorkerProcesses(self.batches, workers) if workers else None
        self._failure: Exception | None = None

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch `index` of `epoch`: images (B, H, W, 3) float32 in [0, 1], targets (B, H, W, C) float32."""
        try:
            return (self._processes or self.batches).draw(self.epoch, index)
        except Exception as error:
            self._failure = error
            raise

    def close(self) -> None:
        """End the processes; from here on this one draws the batches."""
        processes, self._processes = self._processes, None
        if processes:
            processes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *others: object) -> None:
        """End the processes; raise what made a batch fail, in place of what TensorFlow makes of it."""
        self.close()
        if kind and self._failure:
            raise self._failure from None


class CenterCrops(keras.utils.Sequence):
    """The centre of each image at native size, not augmented, with its target channels, for ``validation_data``.

    Whole images are scored after the training. An image smaller than `crop_size`, in pixels, is extended by reflection,
    its label map by background.

    Several devices have equal parts of every batch: the last one is filled up with images of the weight 0, and batches
    are images, targets and weights, (B,). The others have such a weight that the mean loss is that of one device.

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

    def __init__(
        self,
        images: CachedImages,
        targets: str,
        *,
        batch_size: int = 8,
        crop_size: int = 256,
        devices: Devices = ONE_DEVICE,
    ):
        super().__init__(workers=1, use_multiprocessing=False)
        check(images, targets)
        encode, indices = ENCODINGS[targets].encode, range(len(images))
        self._batch_size = batch_size
        self._images = np.stack([center_crop(images.pixels(index), crop_size, "symmetric") for index in indices])
        self._targets = [encode(center_crop(images.label_map(index), crop_size, "constant")) for index in indices]
        self._devices = devices
        self._length = -(-len(images) // devices.count) * devices.count

    def __len__(self) -> int:
        return -(-self._length // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return batch `index`: images (B, H, W, 3) float32 in [0, 1], targets (B, H, W, C) float32."""
        batch = range(self._length)[index * self._batch_size : (index + 1) * self._batch_size]
        part = len(batch) // self._devices.hosts
        own = np.array(batch[self._devices.host * part : (self._devices.host + 1) * part])
        is_real = own < len(self._images)
        own[~is_real] = 0
        arrays = as_network_input(self._images[own]), np.stack([self._targets[place] for place in own])
        if self._devices.count == 1:
            return arrays
        return *arrays, (is_real * (self._length / len(self._images))).astype(np.float32)


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

    dataset = tf.data.Dataset.from_generator(
        lambda: (sequence[index] for index in range(len(sequence))),
        output_signature=tuple(tf.TensorSpec((None, *array.shape[1:]), tf.float32) for array in sequence[0]),
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.apply(tf.data.experimental.assert_cardinality(len(sequence))).prefetch(2).with_options(options)

"""What makes training faster, by the device and the backend."""

from collections.abc import Callable
from functools import partial

import keras

from segmentation.prediction.cores import available_cores


def default_workers() -> int:
    """Return how many processes should draw the crops, or 0 if this one should.

    A GPU takes what all cores but one draw. On a CPU a training step takes ten times as long as drawing its crops, and
    processes gain nothing.
    """
    on_cpu = keras.distribution.list_devices()[0].startswith("cpu")
    return 0 if on_cpu else max(available_cores() - 1, 1)


def batch_normalisation(devices: int = 1) -> Callable[..., keras.layers.Layer]:
    """Return the fastest layer for `segmentation.network.unet.build_unet`; its weights fit Keras' own.

    It takes mean and variance of the whole batch, on however many devices.
    """
    if devices > 1 and keras.backend.backend() == "tensorflow":
        return partial(keras.layers.BatchNormalization, synchronized=True)
    if not _is_tensorflow_on_cpu():
        return keras.layers.BatchNormalization
    from segmentation.network.batch_normalisation import FusedBatchNormalization

    return FusedBatchNormalization


def jit_compile(devices: int = 1) -> bool | str:
    """Return that argument of ``model.compile``.

    XLA makes TensorFlow two to three times slower on a CPU, and does not compile what adds up the gradients of several
    devices.
    """
    return False if _is_tensorflow_on_cpu() or (devices > 1 and keras.backend.backend() == "tensorflow") else "auto"


def _is_tensorflow_on_cpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")

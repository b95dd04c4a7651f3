"""What makes training faster, by the device and the backend."""

import ctypes
import sys
from collections.abc import Callable
from functools import partial

import keras

from segmentation.prediction.cores import available_cores

# Of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Keep the memory of one training step for the next; return whether the C library can be told so (glibc can).

    A training step allocates and frees hundreds of tensors of megabytes. By default the C library returns each to the
    system, which fills it with zeros when it is next asked for: up to half of the time of a step on a CPU. From here on
    the process keeps the most memory that it ever had.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:  # musl
        return False
    # TensorFlow resets the second when it first reads from a generator; it leaves the first, which does most.
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


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

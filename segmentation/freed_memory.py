"""Keep memory that was freed for what is allocated next; by default the C library gives large blocks back.

The system fills a block with zeros each time it is asked for one.
"""

import ctypes
import sys

# Of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


def keep_freed_memory() -> bool:
    """Keep all of it; return whether the C library can be told so (glibc can).

    A training step allocates and frees hundreds of tensors of megabytes; giving them back takes up to half of the time
    of a step on a CPU. From here on the process keeps the most memory that it ever had.
    """
    # TensorFlow resets the first when it first reads from a generator; it leaves the second, which does most.
    return _set(_M_MMAP_MAX, 0) and _set(_M_TRIM_THRESHOLD, 2**31 - 1)


def keep_freed_blocks() -> bool:
    """Keep blocks of up to 32 MiB, 128 MiB in all; return whether the C library can be told so (glibc can).

    It comes to that by itself, but not in a worker of Dask, which tells it to give back all it can: predicting small
    images took a fifth longer.
    """
    return _set(_M_MMAP_THRESHOLD, 32 << 20) and _set(_M_TRIM_THRESHOLD, 128 << 20)


def _set(parameter: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    return bool(mallopt and mallopt(parameter, value))  # musl has none

"""Keep the memory of one training step for the next."""

import ctypes
import sys

# Of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory instead of giving it back to the system.

    A training step allocates and frees tensors of megabytes by the hundred. The C library gives each back to the
    system and asks for it anew, and the system fills it with zeros each time: on a CPU that took up to half of the time
    of a step. The process keeps the most memory that it ever had.

    Returns
    -------
    bool
        Whether there was anything to tell: only the GNU C library, which most Linux systems have, works so.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    # TensorFlow sets the second back when it first reads from a generator; the first it leaves, and it does most.
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))

"""Locks on files. The system releases them when a process ends, even if it is killed."""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_BYTES = 1 << 20


@contextmanager
def shared_lock(file: Path, if_alone: Callable[[], None]) -> Iterator[None]:
    """Hold a lock that several processes may hold at once; first call `if_alone` unless another one holds it."""
    with _opened(file) as descriptor:
        if _lock(descriptor, alone=True, wait=False):
            if_alone()
    with _opened(file) as descriptor:
        _lock(descriptor, alone=False, wait=True)
        yield


@contextmanager
def exclusive_lock(file: Path, if_taken: Callable[[], None]) -> Iterator[None]:
    """Hold a lock that one process alone holds; if others hold it, call `if_taken`, and wait until they release it."""
    with _opened(file) as descriptor:
        if _lock(descriptor, alone=True, wait=False) is False:
            if_taken()
            _lock(descriptor, alone=True, wait=True)
        yield


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    # Neither follows a link nor waits for a pipe.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, alone: bool, wait: bool) -> bool:
        """Lock all bytes alone, or one of them at random: Windows has no shared locks on bytes."""
        while True:
            try:
                os.lseek(descriptor, 0 if alone else random.randrange(_BYTES), os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, _BYTES if alone else 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(0.1)

else:
    import fcntl

    def _lock(descriptor: int, *, alone: bool, wait: bool) -> bool | None:
        """Return whether the lock is held: False if another process holds it, None if the file system has no locks."""
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

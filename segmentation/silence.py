"""Import TensorFlow without the lines that it prints, on every machine, whatever its log level."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_tensorflow() -> Iterator[None]:
    """Hold back standard error, also of compiled code; show it only if an exception is raised."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "wb", buffering=0) as real, tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            real.write(held.read())
            raise
        finally:
            os.dup2(real.fileno(), 2)

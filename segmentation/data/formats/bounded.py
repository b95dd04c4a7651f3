"""A file that gives no memory to what damaged headers claim."""

from typing import Any, BinaryIO


class Bounded:
    """A binary file that gives no memory to what a header claims beyond its end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._end = stream, stream.seek(0, 2)
        stream.seek(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, size: int = -1) -> bytes:
        left = max(self._end - self._stream.tell(), 0)
        return self._stream.read(left if size < 0 else min(size, left))

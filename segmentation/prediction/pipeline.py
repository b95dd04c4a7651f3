"""Read | predict | finish, overlapped: threads read ahead and finish behind, while the caller's thread predicts.

Images of one shape are predicted in batches. Which images share a batch follows from their order alone, not from which
thread was faster, so a call gives the same numbers each time. What waits between the stages is bounded in pixels.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from segmentation.prediction.tiling import BATCH_PIXELS

# Read but not yet asked for; read but waiting for others of their shape; predicted but not yet written. In pixels: a
# pixel takes 12 to 30 bytes in each.
READ_AHEAD = 2 * BATCH_PIXELS
WAITING_FOR_SHAPE = 8 * BATCH_PIXELS
FINISHING = 8 * BATCH_PIXELS


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image that was read.

    Attributes
    ----------
    shape : hashable
        Images of equal shape may be predicted in one batch.
    area : int
        In pixels.
    content : object
        What `predict` and `finish` take.
    """

    shape: Hashable
    area: int
    content: Any


def run_pipeline(
    count: int,
    read: Callable[[int], Any],
    predict: Callable[[list], Sequence],
    finish: Callable[[Any, Any], Any],
    threads: int,
) -> Iterator[tuple[int, Any]]:
    """Take images through three stages.

    Parameters
    ----------
    count : int
        Number of images.
    read : callable
        ``read(index) -> Prepared``, or anything else if there is nothing to predict: that is then the result. Called
        in threads.
    predict : callable
        ``predict(contents) -> one output for each``. Called in the caller's thread.
    finish : callable
        ``finish(content, output) -> result``. Called in threads.
    threads : int
        For reading, and as many for finishing.

    Yields
    ------
    index : int
    result : object
        Or the exception that a stage raised for this image; the others go on. Roughly in the order of the images.
    """
    readers = _Readers(read, threads)
    finishers = ThreadPoolExecutor(threads, "finish")
    finishing: deque[tuple[int, int, Future]] = deque()
    waiting: dict[Hashable, list[tuple[int, Prepared]]] = {}  # the shape that waits longest is the first
    try:
        for index, result in readers.results(count):
            if not isinstance(result, Prepared):
                yield index, result
                continue
            batch = waiting.setdefault(result.shape, [])
            batch.append((index, result))
            if (len(batch) + 1) * result.area > BATCH_PIXELS:
                yield from _predict(waiting.pop(result.shape), predict, finish, finishers, finishing)
            while sum(image.area for batch in waiting.values() for _, image in batch) > WAITING_FOR_SHAPE:
                yield from _predict(waiting.pop(next(iter(waiting))), predict, finish, finishers, finishing)
        for batch in waiting.values():
            yield from _predict(batch, predict, finish, finishers, finishing)
        while finishing:
            yield _finished(finishing)
    finally:
        # Also when the caller stops listening, as on Ctrl-C: what was begun is finished, the rest is dropped.
        readers.stop()
        finishers.shutdown(cancel_futures=True)


class _Readers:
    """Threads that read ahead, as far as `READ_AHEAD` allows; `results` gives what they read, in order."""

    def __init__(self, read: Callable[[int], Any], threads: int):
        self._read = read
        self._pool = ThreadPoolExecutor(threads, "read")
        self._changed = threading.Condition()
        self._wanted = 0  # the image that the caller waits for
        self._unused = 0  # pixels read and not asked for yet
        self._stopped = False

    def results(self, count: int) -> Iterator[tuple[int, Any]]:
        for index, future in enumerate([self._pool.submit(self._read_in_turn, index) for index in range(count)]):
            result = future.exception() or future.result()
            with self._changed:
                self._wanted = index + 1
                self._unused -= _area(result)
                self._changed.notify_all()
            yield index, result

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._pool.shutdown(cancel_futures=True)

    def _read_in_turn(self, index: int) -> Any:
        with self._changed:
            # How large an image is shows once it is read; so each thread may go beyond the bound by one image.
            self._changed.wait_for(lambda: self._unused < READ_AHEAD or index == self._wanted or self._stopped)
            if self._stopped:
                return None
        result = self._read(index)
        with self._changed:
            self._unused += _area(result)
        return result


def _area(result: Any) -> int:
    return result.area if isinstance(result, Prepared) else 0


def _predict(batch, predict, finish, finishers, finishing) -> Iterator[tuple[int, Any]]:
    try:
        outputs = predict([image.content for _, image in batch])
    except Exception as error:
        if len(batch) == 1:
            yield batch[0][0], error
        else:  # one image, or too little memory for all of them, must not take the others along
            for image in batch:
                yield from _predict([image], predict, finish, finishers, finishing)
        return
    for (index, image), output in zip(batch, outputs, strict=True):
        while finishing and image.area + sum(area for _, area, _ in finishing) > FINISHING:
            yield _finished(finishing)
        finishing.append((index, image.area, finishers.submit(finish, image.content, output)))
    while finishing and finishing[0][2].done():
        yield _finished(finishing)


def _finished(finishing) -> tuple[int, Any]:
    index, _, future = finishing.popleft()
    error = future.exception()
    return index, future.result() if error is None else error

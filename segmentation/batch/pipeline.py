"""Read, predict and finish images, overlapped: threads read ahead of the network and finish behind it.

Images of one shape are predicted in batches. Which images share a batch follows from their order and the size of a
batch, not from which thread was faster, so a call gives the same numbers each time. What waits between the stages is
bounded in pixels.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

# Pixels that are read ahead; that wait for others of their shape; that are predicted or wait for it; that are predicted
# but not yet written. A pixel takes 12 to 30 bytes in each.
READ_AHEAD = 1 << 20
WAITING_FOR_SHAPE = 4 << 20
PREDICTING = 8 << 20
FINISHING = 4 << 20
# In images: more than there are small ones in `READ_AHEAD`.
_READS_AHEAD = 256


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image that was read; `content` is what `predict` and `finish` take."""

    shape: Hashable  # images of equal shape may be predicted in one batch
    area: int  # in pixels
    content: Any


_Batch = list[tuple[int, ReadImage]]
_Results = Iterator[tuple[int, Any]]


def run_pipeline(
    count: int,
    read: Callable[[int], Any],
    predict: Callable[[list], Sequence],
    finish: Callable[[Any, Any], Any],
    threads: int,
    streams: int,
    batch_pixels: int,
    cancel: Callable[[], None] = lambda: None,
) -> _Results:
    """Take `count` images through three stages.

    Parameters
    ----------
    count : int
    read : callable
        ``read(index) -> ReadImage``, or anything else if there is nothing to predict: that is then the result.
    predict : callable
        ``predict(contents) -> one output for each``.
    finish : callable
        ``finish(content, output) -> result``.
    threads, streams : int
        Threads for reading and as many for finishing; threads for predicting.
    batch_pixels : int
        Images of one shape go together up to so many pixels; a larger one goes alone.
    cancel : callable
        Cancels predictions in flight; called when the caller stops listening, as on Ctrl-C.

    Yields
    ------
    index : int
    result : object
        Or the exception that a stage raised for this image; the others go on. Roughly in the order of the images.
    """
    stages = (threads, "read"), (streams, "predict"), (threads, "finish")
    pools = [ThreadPoolExecutor(workers, name) for workers, name in stages]
    readers, network = _Readers(read, pools[0]), _Network(predict, finish, *pools[1:])
    waiting: dict[Hashable, _Batch] = {}  # the shape that waits longest is the first
    try:
        for index, result in readers.results(count):
            yield from network.ready()
            if not isinstance(result, ReadImage):
                yield index, result
                continue
            batch = waiting.setdefault(result.shape, [])
            batch.append((index, result))
            if (len(batch) + 1) * result.area > batch_pixels:
                yield from network.take(waiting.pop(result.shape))
            while sum(map(_area_of, waiting.values())) > WAITING_FOR_SHAPE:
                yield from network.take(waiting.pop(next(iter(waiting))))
        for batch in waiting.values():
            yield from network.take(batch)
        yield from network.rest()
    finally:
        # At the end there is nothing left to cancel. Before it, what is being written is finished, the rest is dropped.
        cancel()
        readers.stop()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown()


class _Readers:
    """Read ahead as far as `READ_AHEAD` allows, and give the results in order."""

    def __init__(self, read: Callable[[int], Any], pool: Executor) -> None:
        self._read, self._pool = read, pool
        self._changed = threading.Condition()
        self._wanted = 0  # the image that the caller waits for
        self._unused = 0  # pixels read and not asked for yet
        self._stopped = False

    def results(self, count: int) -> _Results:
        ahead = (self._pool.submit(self._read_in_turn, index) for index in range(count))
        reading = deque(islice(ahead, _READS_AHEAD))
        for index in range(count):
            # A future keeps the image that it read in memory.
            result = _result(reading.popleft())
            reading.extend(islice(ahead, 1))
            with self._changed:
                self._wanted = index + 1
                self._unused -= _area(result)
                self._changed.notify_all()
            yield index, result
            del result

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _read_in_turn(self, index: int) -> Any:
        with self._changed:
            # The size of an image is known once it is read, so each thread may exceed the bound by one image.
            self._changed.wait_for(lambda: self._unused < READ_AHEAD or index == self._wanted or self._stopped)
            if self._stopped:
                return None
        result = self._read(index)
        with self._changed:
            self._unused += _area(result)
        return result


class _Network:
    """Predict batches, finish images, and give the results as they come."""

    def __init__(self, predict: Callable, finish: Callable, predictors: Executor, finishers: Executor) -> None:
        self._predict, self._finish, self._predictors, self._finishers = predict, finish, predictors, finishers
        self._predicting: deque[tuple[_Batch, Future]] = deque()
        self._finishing: deque[tuple[int, int, Future]] = deque()

    def take(self, batch: _Batch) -> _Results:
        """Begin to predict a batch once there is room for it."""
        while self._predicting and _area_of(batch) + sum(_area_of(other) for other, _ in self._predicting) > PREDICTING:
            yield from self._predicted()
        self._predicting.append((batch, self._predictors.submit(self._outputs, [image for _, image in batch])))

    def ready(self) -> _Results:
        """Begin to finish what is predicted; give what is finished."""
        while self._predicting and self._predicting[0][1].done():
            yield from self._predicted()
        while self._finishing and self._finishing[0][2].done():
            yield self._finished()

    def rest(self) -> _Results:
        """Wait for all that was begun."""
        while self._predicting:
            yield from self._predicted()
            yield from self.ready()
        while self._finishing:
            yield self._finished()

    def _outputs(self, images: list[ReadImage]) -> Sequence:
        """Return the output of each image, or the exception that it raised."""
        try:
            return self._predict([image.content for image in images])
        except Exception as error:
            if len(images) == 1:
                return [error]
            # A bad image, or too little memory for all of them, must not make the others fail.
            return [output for image in images for output in self._outputs([image])]

    def _predicted(self) -> _Results:
        batch, future = self._predicting.popleft()
        for (index, image), output in zip(batch, future.result(), strict=True):
            if isinstance(output, Exception):
                yield index, output
                continue
            while self._finishing and image.area + sum(area for _, area, _ in self._finishing) > FINISHING:
                yield self._finished()
            self._finishing.append((index, image.area, self._finishers.submit(self._finish, image.content, output)))

    def _finished(self) -> tuple[int, Any]:
        index, _, future = self._finishing.popleft()
        return index, _result(future)


def _result(future: Future) -> Any:
    """Return what a call gave, or the exception that it raised."""
    return future.exception() or future.result()


def _area(result: Any) -> int:
    return result.area if isinstance(result, ReadImage) else 0


def _area_of(batch: _Batch) -> int:
    return sum(image.area for _, image in batch)

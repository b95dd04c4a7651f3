"""Read, predict and finish images, overlapped: threads read ahead of the network and finish behind it.

Images of one shape are predicted in batches. Which images share a batch depends on their order and size alone, not on
the speed of threads, so a call gives the same numbers each time. What waits between the stages is bounded in pixels.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

# Pixels that are read ahead, wait for others of their shape, are predicted or wait for it, and are decoded and written.
# A pixel takes 12 to 30 bytes in each.
READ_AHEAD = 1 << 20
WAITING_FOR_SHAPE = 4 << 20
PREDICTING = 8 << 20
FINISHING = 4 << 20
_MOST_IMAGES_AHEAD = 256  # more than there are small ones in `READ_AHEAD`


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image that was read; `content` is what `predict` and `finish` take."""

    shape: Hashable  # images of equal shape may be predicted in one batch
    area: int  # in pixels
    content: Any


_Batch = list[tuple[int, ReadImage]]
_Results = Generator[tuple[int, Any]]  # the index of an image, and what became of it


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
    """Take `count` images through three stages; yield the index and the result of each, roughly in their order.

    The result is the exception if a stage raises one for an image; the others go on.

    ``read(index)`` returns a `ReadImage`, or anything else if there is nothing to predict: that is then the result.
    ``predict(contents)`` returns an output for each, and ``finish(content, output)`` the result. `threads` read and as
    many finish, `streams` predict. Images of one shape go together up to `batch_pixels`; a larger one goes alone.
    `cancel` stops predictions in flight; it is called when the caller stops listening, as on Ctrl-C.
    """
    pools = [ThreadPoolExecutor(workers) for workers in (threads, streams, threads)]
    images, network = _read_ahead(read, pools[0], count), _Network(predict, finish, *pools[1:])
    waiting: dict[Hashable, _Batch] = {}  # the shape that waits longest is the first
    try:
        for index, result in images:
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
        images.close()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown()


def _read_ahead(read: Callable[[int], Any], pool: Executor, count: int) -> _Results:
    """Read ahead as far as `READ_AHEAD` allows, and yield the results in order; close the generator to stop."""
    changed = threading.Condition()
    wanted = 0  # the image that the caller waits for
    unused = 0  # pixels read and not asked for yet
    stopped = False

    def read_in_turn(index: int) -> Any:
        nonlocal unused
        with changed:
            # The size of an image is known once it is read, so each thread may exceed the bound by one image.
            changed.wait_for(lambda: unused < READ_AHEAD or index == wanted or stopped)
            if stopped:
                return None
        result = read(index)
        with changed:
            unused += _area(result)
        return result

    ahead = (pool.submit(read_in_turn, index) for index in range(count))
    reading = deque(islice(ahead, _MOST_IMAGES_AHEAD))
    try:
        for index in range(count):
            # A future keeps the image that it read in memory.
            result = _result(reading.popleft())
            reading.extend(islice(ahead, 1))
            with changed:
                wanted = index + 1
                unused -= _area(result)
                changed.notify_all()
            yield index, result
            del result
    finally:
        with changed:
            stopped = True
            changed.notify_all()


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

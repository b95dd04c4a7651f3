"""The tasks of a call on a cluster: some files each, or the steps of a large image; no task waits for another.

A task names a function of `segmentation.batch.worker` and says what to do with its result, which may be an exception:
yield the outcomes of images, and add the tasks that can begin now.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

from segmentation.batch import worker
from segmentation.batch.call import Call, Outcome
from segmentation.batch.inputs import Input
from segmentation.batch.stages import blocks_folder, lock_on
from segmentation.large.store import drop_edges

Outcomes = Iterator[tuple[int, Outcome]]
_Place = tuple[int, int]


@dataclass(frozen=True)
class Task:
    """A call of a function of a worker, and what to do with the result."""

    function: Callable
    arguments: tuple
    then: Callable[[Any], Outcomes]


@dataclass(frozen=True)
class FileTasks:
    """Predicts files some at a time; those that must be done by blocks are collected in `large`."""

    call: Call
    sources: Sequence[Input]
    todo: deque[Task]
    large: list[int] = field(default_factory=list)

    def task(self, indices: Sequence[int]) -> Task:
        """Return the task for the files with these indices."""
        return Task(worker.predict_files, ([self.sources[index] for index in indices],), partial(self._done, indices))

    def _done(self, indices: Sequence[int], result: list[Outcome | None] | Exception) -> Outcomes:
        if isinstance(result, Exception):
            if len(indices) > 1:  # one of them took its worker with it: which?
                self.todo.extend(self.task([index]) for index in indices)
                return
            result = [self.call.fail(self.sources[indices[0]], result)]
        for index, outcome in zip(indices, result, strict=True):
            if outcome is None:
                self.large.append(index)
            else:
                yield index, outcome


class SlideTasks:
    """Predicts one image by blocks: looks at it, does the blocks, each after those it needs, and stitches them.

    Another call on the same folder that comes to this image waits, and then finds it finished. A task that ends with an
    exception, as it does when its workers are killed, is tried once more; after a failure no further one begins.
    """

    def __init__(
        self, call: Call, index: int, source: Input, todo: deque[Task], report: Callable[[str, int, int], None]
    ) -> None:
        self._call, self._index, self._source, self._todo, self._report = call, index, source, todo, report
        self._blocks, self._lock = blocks_folder(call, source), ExitStack()
        self._begun: set[_Place] = set()
        self._finished: set[_Place] = set()
        self._has_ended = False

    def first(self) -> Task:
        """Return the first task; the others follow from it."""
        self._lock.enter_context(lock_on(self._call, self._source))
        return self._task(worker.plan_slide, self._planned)

    def _task(self, function: Callable, then: Callable[[Any], Outcomes], *arguments: Any) -> Task:
        """Return a task for this image, which is tried again if it ends with an exception."""
        again = Task(function, (self._source, *arguments), then)

        def once_more(result: Any) -> Outcomes:
            if not isinstance(result, Exception):
                yield from then(result)
            elif not self._has_ended:
                self._todo.append(again)

        return Task(function, again.arguments, once_more)

    def _planned(self, result: worker.Slide | Outcome | Exception) -> Outcomes:
        if not isinstance(result, worker.Slide):
            yield from self._end(result)
            return
        self._slide = result
        places = set(product(range(result.rows), range(result.columns)))
        self._finished |= places - set(result.missing)
        yield from self._begin(sorted(result.missing))

    def _begin(self, places: Sequence[_Place]) -> Outcomes:
        """Add those of some blocks that can begin, or the last step if all are finished."""
        sha256 = self._slide.sha256
        for place in filter(self._is_ready, places):
            self._begun.add(place)
            self._todo.append(self._task(worker.predict_block, partial(self._predicted, place), sha256, place))
        if len(self._finished) == self._slide.rows * self._slide.columns:
            self._todo.append(self._task(worker.finish_slide, self._end, sha256))
        yield from ()

    def _is_ready(self, place: _Place) -> bool:
        """Tell whether a block can begin: it needs the edges of those above it and to its left."""
        row, column = place
        needed = (row - 1, column), (row, column - 1), (row - 1, column - 1)
        inside = row < self._slide.rows and column < self._slide.columns and not self._has_ended
        new = place not in self._begun and place not in self._finished
        return inside and new and all(min(other) < 0 or other in self._finished for other in needed)

    def _predicted(self, place: _Place, result: Outcome | Exception | None) -> Outcomes:
        if result is not None:
            yield from self._end(result)
            return
        self._finished.add(place)
        self._report(self._source.name, len(self._finished), self._slide.rows * self._slide.columns)
        row, column = place
        for above in {row - 1, row}:
            columns = range(self._slide.columns)
            if 0 <= above and {(line, each) for line in (above, above + 1) for each in columns} <= self._finished:
                drop_edges(self._blocks, above)
        yield from self._begin([(row + 1, column + 1), (row, column + 1), (row + 1, column)])

    def _end(self, result: Outcome | Exception) -> Outcomes:
        outcome = self._call.fail(self._source, result) if isinstance(result, Exception) else result
        if outcome.status != "failed":
            shutil.rmtree(self._blocks, ignore_errors=True)
        self._lock.close()
        if not self._has_ended:  # several blocks may fail
            self._has_ended = True
            yield self._index, outcome

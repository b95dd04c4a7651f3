"""Processes that draw batches into memory that they share with the training."""

import ctypes
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from threading import Lock
from typing import Any

import cv2
import numpy as np

from segmentation.training.batches import CropBatches
from segmentation.training.errors import TrainingError

# Batches that a process may be ahead of the training.
_AHEAD = 2
# Where the system knows them. Ctrl-C and the signals of a batch queue reach all processes; the training decides.
_OF_THE_TRAINING = (signal.SIGINT, signal.SIGTERM)


class WorkerProcesses:
    """Draw the batches of a training ahead of it, in order, in `count` processes of their own.

    Each process has two places for a batch in shared memory that has no name: it goes when the last process that uses
    it does, however that ends. Batch n of all comes from process n modulo `count`, by a pipe between it and the
    training alone, so that one that is killed can block no other. A process ends when the training does.

    They are started anew, not forked: a fork of a process with the threads of TensorFlow or JAX may wait forever. So a
    script that uses this has ``if __name__ == "__main__":``, and an augmentation of one's own is defined in a module.
    """

    def __init__(self, batches: CropBatches, count: int):
        self._batches, self._lock = batches, Lock()
        self._asked: deque[tuple[int, int]] = deque()  # the batches that are being drawn: epoch and index
        self._received = 0
        context = multiprocessing.get_context("spawn")
        shapes = [array.shape for array in batches.draw(0, 0)]
        floats = sum(int(np.prod(shape)) for shape in shapes)
        self._processes, self._connections, self._slots = [], [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            memory = context.RawArray(ctypes.c_float, _AHEAD * floats)
            process = context.Process(target=_draw_batches, args=(theirs, memory, shapes), daemon=True)
            with _signals_held():
                process.start()
            theirs.close()  # so that reading ends when the process does
            self._processes.append(process)
            self._connections.append(ours)
            self._slots.append(_slots(memory, shapes))
        # Also when the interpreter exits, before it waits for its processes.
        self._end = Finalize(self, _end, (self._processes, self._connections), exitpriority=10)
        # Not with what a process is started with: where that is long, and the process dies before it reads it, Python
        # waits for ever (3.11 to 3.13), as it holds the other end of that pipe itself.
        for number, connection in enumerate(self._connections):
            try:
                connection.send(batches)
            except OSError as error:
                raise self._ended(number) from error

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._end()

    def draw(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch, as `CropBatches.draw` does; those that follow it are asked for ahead.

        Raise `TrainingError` if a process has ended, and what the augmentation raised.
        """
        with self._lock:  # Keras may still read ahead in one epoch when it begins the next
            while self._asked and self._asked[0] != (epoch, index):
                self._receive()  # a resumed training, or one that leaves out batches
            following = self._asked[-1] if self._asked else None
            while len(self._asked) < _AHEAD * len(self._processes):
                following = self._after(following) if following else (epoch, index)
                self._ask(following)
            images, targets = (array.copy() for array in self._receive())
            return images, targets

    def _after(self, batch: tuple[int, int]) -> tuple[int, int]:
        epoch, index = batch
        return (epoch, index + 1) if index + 1 < len(self._batches) else (epoch + 1, 0)

    def _place(self, number: int) -> tuple[int, int]:
        """Return the process, and which of its slots, for a batch by its number since the start."""
        return number % len(self._processes), number // len(self._processes) % _AHEAD

    def _ask(self, batch: tuple[int, int]) -> None:
        process, slot = self._place(self._received + len(self._asked))
        try:
            self._connections[process].send((*batch, slot))
        except OSError as error:
            raise self._ended(process) from error
        self._asked.append(batch)

    def _receive(self) -> list[np.ndarray]:
        process, slot = self._place(self._received)
        try:
            error = self._connections[process].recv()
        except (EOFError, OSError) as end:
            raise self._ended(process) from end
        self._asked.popleft()
        self._received += 1
        if error is not None:
            raise error
        return self._slots[process][slot]

    def _ended(self, number: int) -> TrainingError:
        process = self._processes[number]
        process.join(5)
        code = process.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"
        return TrainingError(
            f"a process that draws batches, {process.pid}, has ended with {how}, perhaps for lack of memory. The state "
            "after the last whole epoch is kept; resume the training with --resume, and with fewer --workers"
        )


def _draw_batches(connection: Connection, memory: Any, shapes: list[tuple[int, ...]]) -> None:
    """Get what to draw from, then draw the batches that are asked for, until the other end of the connection closes."""
    for number in _OF_THE_TRAINING:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)  # there is a process for each core
    slots = _slots(memory, shapes)
    with suppress(EOFError, OSError):
        batches: CropBatches = connection.recv()
        while True:
            epoch, index, slot = connection.recv()
            answer = None
            try:
                for place, array in zip(slots[slot], batches.draw(epoch, index), strict=True):
                    place[:] = array
            except Exception as error:
                error.add_note(f"In a process that draws batches:\n{traceback.format_exc()}")
                answer = error
            connection.send(answer)


def _slots(memory: Any, shapes: list[tuple[int, ...]]) -> list[list[np.ndarray]]:
    """Return the arrays of each batch that lies in a piece of memory."""
    slots = []
    for floats in np.split(np.frombuffer(memory, np.float32), _AHEAD):
        ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
        slots.append([part.reshape(shape) for part, shape in zip(np.split(floats, ends), shapes, strict=True)])
    return slots


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start a process so that it never gets those signals; this one gets them afterwards. Does nothing on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # when it starts, with the first process, it lets them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TRAINING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(processes: list[BaseProcess], connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        process.join(5)
        process.kill()  # where it has not ended by itself
        process.join()

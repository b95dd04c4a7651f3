"""Predict the images of a call on a Dask cluster, whose workers see the same files as this process.

A task is a few files, or a block of a large image; the workers write the results. So little is in flight that neither
the scheduler nor this process grows with the number of images, and what is finished is on disk with its record: a call
that is broken off goes on, on a cluster or without.
"""

import json
import logging
import os
import re
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from segmentation.batch.call import Call
from segmentation.batch.folder import FolderError
from segmentation.batch.inputs import Input
from segmentation.batch.recipe import Recipe
from segmentation.data.large import LARGEST_WHOLE

try:
    import distributed
    from distributed import Client, Future, KilledWorker
except ImportError as error:
    raise ImportError(
        f"--scheduler needs {error.name}, which is not installed; run: pip install -r requirements/cluster.txt"
    ) from error

from segmentation.batch import worker
from segmentation.batch.tasks import FileTasks, Outcomes, SlideTasks, Task

# Files in a task: some of the smallest take no longer than passing a task on.
FILES_IN_A_TASK = 8
# Tasks in flight for each thread of the workers: one is done, the others wait for it.
_TASKS_FOR_A_THREAD = 3
_CONNECT_SECONDS, _WORKERS_SECONDS, _LOOK_AGAIN_SECONDS, _POLL_SECONDS = 10, 60, 5, 0.01
# All workers import this code and open the network meanwhile, from a file system that they may share.
_PREPARE_SECONDS = 300
# Of the plugin of each call; the rest is the client that makes it.
_PREFIX = "nuclei-segmentation-"


class ClusterError(FolderError):
    """A cluster cannot be used, or is lost; the message is one sentence."""


class Cluster:
    """A connection to a scheduler, for one call; use as a context.

    Parameters
    ----------
    address : str
        Such as ``tcp://host:8786``.
    file : Path
        What the scheduler wrote with ``--scheduler-file``, in place of the address.
    warn : callable
        Told in a sentence when no worker is left.

    Raises
    ------
    ClusterError
        If there is no scheduler, or none of its workers.
    """

    def __init__(
        self,
        address: str | None = None,
        file: Path | None = None,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._where, self._warn = address or _read_address(file), warn
        self._threads_there, self._looked, self._was_told = 0, -inf, False
        for logger in "distributed", "distributed.client":  # they report what is said here in a sentence
            logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
        place = re.fullmatch(r"(?:tcp|tls)://(.+):(\d{1,5})", self._where)
        if not place:
            raise ClusterError(f"Expected the address of a scheduler, as in tcp://host:8786, got {self._where!r}")
        try:
            # A client that finds nobody cannot be closed, and waits for ever for one that does not answer.
            with socket.create_connection((place[1].strip("[]"), int(place[2])), timeout=_CONNECT_SECONDS) as probe:
                if self._where.startswith("tcp:") and not probe.recv(1):  # a scheduler speaks first
                    raise ConnectionError
            self._client = Client(self._where, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, OverflowError) as error:
            raise ClusterError(f"There is no scheduler at {self._where}; start one with: dask scheduler") from error
        self._name = f"{_PREFIX}{self._client.id}"

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(Exception):  # the scheduler may be gone
            self._ask(self._client.unregister_worker_plugin, self._name, seconds=_CONNECT_SECONDS)
        self._client.close(timeout=5)

    def prepare(
        self, inputs: Sequence[Input], folder: Path, recipe: Recipe, settings: dict, overwrite: bool = False
    ) -> None:
        """Open the network on all workers, and see that they can do the work; raise ClusterError if one cannot."""
        paths = [folder, *(Path(str(source.file)) for source in inputs)]
        directory = None if all(path.is_absolute() for path in paths) else os.getcwd()
        arguments = {"folder": folder, "overwrite": overwrite, "largest_whole": LARGEST_WHOLE}
        plugin = worker.CallPlugin(self._name, recipe, arguments, directory, settings, worker.code_digest())
        files = [str(source.file) for source in (inputs[0], inputs[-1]) if isinstance(source.file, Path)]
        exists = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
        probe, token = exists / f".{self._name}", str(uuid.uuid4())
        try:
            probe.write_text(token)
        except OSError as error:
            raise ClusterError(f"The output folder {folder} cannot be written to ({error.strerror})") from error
        try:
            self._prepare(plugin)
            problems = self._ask(self._client.run, worker.check, self._name, str(probe), token, files)
        except OSError as error:
            raise ClusterError(
                f"The scheduler at {self._where} or one of its workers ended while it was prepared, or does not "
                "answer; look into their logs, and whether each worker has 0.6 GB of memory"
            ) from error
        finally:
            probe.unlink(missing_ok=True)
        problem = next(filter(None, problems.values()), None)
        if problem:
            raise ClusterError(problem)

    def _prepare(self, plugin: worker.CallPlugin) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise ClusterError(
                f"The scheduler at {self._where} has no worker; start some with: dask worker {self._where}"
            ) from error
        found = {"scheduler": self._ask(self._client.run_on_scheduler, _installed())}
        found |= {f"worker {address}": digest for address, digest in self._ask(self._client.run, _installed()).items()}
        for place, digest in found.items():
            if digest != worker.code_digest():
                what = "another version of this code" if digest else "no nuclei-segmentation"
                raise ClusterError(f"The {place} has {what}; install the same version everywhere")
        for name in self._ask(self._client.run_on_scheduler, _left()):
            with suppress(Exception):  # another call that begins now has done it
                self._ask(self._client.unregister_worker_plugin, name)
        self._ask(self._client.register_plugin, plugin, name=self._name)

    def _ask(self, method: Callable, *arguments: Any, seconds: float = _PREPARE_SECONDS, **named: Any) -> Any:
        """Return what a method of the client returns; raise TimeoutError if scheduler or workers take too long."""

        async def ask() -> Any:
            return await method(*arguments, **named)

        return self._client.sync(ask, callback_timeout=seconds)

    def __call__(self, call: Call, sources: Sequence[Input], report_block: Callable[[str, int, int], None]) -> Outcomes:
        """Predict images as `predict_here` does: first those that are read whole, then the others by blocks."""
        todo: deque[Task] = deque()
        files = FileTasks(call, sources, todo)
        every = range(len(sources))
        chunks = (every[first : first + FILES_IN_A_TASK] for first in every[::FILES_IN_A_TASK])
        yield from self._run(call, todo, map(files.task, chunks))
        # In the order of the names, so that two calls on one folder never wait for each other.
        order = sorted(files.large, key=lambda index: sources[index].name)
        slides = (SlideTasks(call, index, sources[index], todo, report_block).first() for index in order)
        yield from self._run(call, todo, slides)

    def _run(self, call: Call, todo: deque[Task], more: Iterator[Task]) -> Outcomes:
        """Run the tasks that are to do, and more when there are none; a bounded number at once."""
        flying: dict[Future, Task] = {}
        done = distributed.as_completed(loop=self._client.loop)
        try:
            while True:
                room = _TASKS_FOR_A_THREAD * max(1, self._threads())
                while len(flying) < room and (task := todo.popleft() if todo else next(more, None)):
                    future = self._client.submit(
                        task.function, self._name, call.kept_tables, *task.arguments, pure=False
                    )
                    flying[future] = task
                    done.add(future)
                if not flying:
                    return
                while not done.has_ready():
                    self._tell_if_alone()
                    time.sleep(_POLL_SECONDS)
                future = next(done)
                task = flying.pop(future)
                yield from task.then(self._result(call, future))
                del future
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self._ask(self._client.cancel, [*flying], seconds=_CONNECT_SECONDS)

    def _tell_if_alone(self) -> None:
        """Say once that no worker is left, until there is one again."""
        is_alone = not self._threads()
        if is_alone and not self._was_told:
            self._warn(
                f"No worker is left of the scheduler at {self._where}; this waits for one (dask worker "
                f"{self._where}), or press Ctrl-C"
            )
        self._was_told = is_alone

    def _threads(self) -> int:
        """Return how many tasks the workers do at once, as of some seconds ago."""
        if time.monotonic() > self._looked + _LOOK_AGAIN_SECONDS:
            with suppress(OSError):  # of a scheduler that is gone, the tasks tell
                self._threads_there = sum(self._ask(self._client.nthreads, seconds=_CONNECT_SECONDS).values())
            self._looked = time.monotonic()
        return self._threads_there

    def _result(self, call: Call, future: Future) -> Any:
        """Return what a task gave, or the exception that it ended with."""
        while future.status != "error":
            try:
                result, seconds = future.result(timeout=_LOOK_AGAIN_SECONDS)
            except TimeoutError:  # the worker ended before the result was fetched; another one does the task again
                self._tell_if_alone()
            except Exception as reason:
                if future.status != "error":
                    raise ClusterError(
                        f"The scheduler at {self._where} is gone; the images that are done are kept, and the same "
                        "command, with or without a scheduler, goes on from there"
                    ) from reason
            else:
                for stage, value in seconds.items():
                    call.seconds[stage] += value
                return result
        error = future.exception()
        if isinstance(error, worker.WorkerError):
            raise ClusterError(str(error))
        if isinstance(error, KilledWorker):
            return RuntimeError("the workers that had it ended, again and again, most likely for want of memory")
        if isinstance(error, ImportError):
            raise ClusterError(f"A worker has not all of this code ({error}); install the same version everywhere")
        return error


def _read_address(file: Path | None) -> str:
    """Return the address of the scheduler that wrote a file."""
    try:
        return str(json.loads(Path(file or "").read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"{file} names no scheduler; expected a file that one wrote: dask scheduler --scheduler-file {file}"
        ) from error


def _installed() -> Callable[[], str]:
    """Return a function that tells the code of a process; it travels as a whole, as there may be none."""

    def digest() -> str:
        try:
            from segmentation.batch.worker import code_digest
        except ImportError:
            return ""
        return code_digest()

    return digest


def _left() -> Callable[..., list[str]]:
    """Return a function that lists the plugins of calls that were killed, of which the workers keep networks open."""

    def left(dask_scheduler: distributed.Scheduler, prefix: str = _PREFIX) -> list[str]:
        names = (name for name in dask_scheduler.worker_plugins if name.startswith(prefix))
        return [name for name in names if name.removeprefix(prefix) not in dask_scheduler.clients]

    return left

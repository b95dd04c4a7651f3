"""What a worker of a Dask cluster does for a call: it opens the network once, predicts, and writes the results."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import Worker, WorkerPlugin, get_worker

from segmentation.batch.call import Call, Outcome, digest_of
from segmentation.batch.folder import predict_whole
from segmentation.batch.inputs import Input
from segmentation.batch.recipe import Recipe
from segmentation.batch.stages import open_blocks, open_by_blocks
from segmentation.freed_memory import keep_freed_blocks

if TYPE_CHECKING:
    from segmentation.large.predict import Work


class WorkerError(RuntimeError):
    """A worker cannot do what a call needs; the message is one sentence."""


@dataclass(frozen=True)
class Slide:
    """How an image is cut into blocks, and which of them are missing."""

    sha256: str
    rows: int
    columns: int
    missing: list[tuple[int, int]]


@cache
def code_digest() -> str:
    """SHA-256 of the code of this package: workers with other code might write other results."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


class CallPlugin(WorkerPlugin):
    """Opens the network on each worker that there is, and on each that joins later.

    Parameters
    ----------
    name : str
        Of this call, for its tasks.
    arguments : dict
        Of `Call`, but for what `recipe` opens.
    directory : str or None
        What paths of this call are relative to; None if all of them are absolute.
    settings, digest : dict, str
        Of the predictor, and `code_digest`, of the process that makes the call.
    """

    def __init__(
        self, name: str, recipe: Recipe, arguments: dict, directory: str | None, settings: dict, digest: str
    ) -> None:
        self.name, self.recipe, self.arguments, self.directory = name, recipe, arguments, directory
        self.settings, self.digest = settings, digest
        self.problem = ""

    def setup(self, worker: Worker) -> None:
        """Open all that the call needs; what is wrong is kept as a sentence, because the worker may serve others."""
        self.lock, self.works = threading.Lock(), {}  # type: ignore[var-annotated]
        try:
            if code_digest() != self.digest:
                raise WorkerError("it runs another version of this code; install the same one everywhere")
            others = (plugin for plugin in worker.plugins.values() if isinstance(plugin, CallPlugin))
            taken = {other.directory for other in others} - {None, self.directory}
            if self.directory and taken:
                raise WorkerError(f"it serves a call from {taken.pop()}; name images and folders by absolute paths")
            if self.directory:
                os.chdir(self.directory)
            keep_freed_blocks()
            # Each of its threads runs a task, and each task calls the network from one thread.
            threads = worker.state.nthreads
            predictor, outputs = self.recipe.open(threads, cores=threads)
            if predictor.settings != self.settings:
                raise WorkerError("its model or settings are not those of this call")
            self.call = Call(predictor=predictor, outputs=outputs, **self.arguments)
        except Exception as error:
            self.problem = f"The worker {worker.address} cannot be used: {error}"

    def work(self, call: Call, source: Input, sha256: str) -> "Work":
        """Return the work on an image by blocks, which is kept open for its next block."""
        with self.lock:
            key = source.name, sha256  # two images may have the same content
            if key not in self.works:
                if len(self.works) > 1:  # several images may be in progress; files close with their last block
                    del self.works[next(iter(self.works))]
                large = open_by_blocks(call, source)
                self.works[key] = open_blocks(call, source, large, sha256, call.predictor)
            return self.works[key]


def check(name: str, probe: str, token: str, files: Sequence[str], dask_worker: Worker) -> str:
    """Tell in a sentence why this worker cannot do the tasks of a call; nothing if it can.

    It must see a `probe`, a file with the content `token`, be able to write beside it, and see the image `files`.
    """
    worker = dask_worker  # the name by which Dask passes it on
    plugin = worker.plugins.get(name)
    problem = plugin.problem if isinstance(plugin, CallPlugin) else f"The worker {worker.address} was not prepared"
    if problem:
        return problem
    folder = Path(probe).parent
    try:
        if Path(probe).read_text() != token:
            raise FileNotFoundError
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return (
            f"The worker {worker.address} cannot read and write {folder.resolve()} as this process does; name a folder "
            "that all of them share"
        )
    missing = next((file for file in files if not os.path.lexists(file)), None)
    if missing:
        return f"The worker {worker.address} does not see {missing}; name images in a folder that all of them share"
    return ""


def predict_files(
    name: str, kept_tables: tuple[Path, ...], sources: Sequence[Input]
) -> tuple[list[Outcome | None], dict[str, float]]:
    """Predict some files; return their outcomes, None for those to be done by blocks, and the seconds by stage."""
    call = _call(_plugin(name), kept_tables)
    outcomes = dict(predict_whole(call, sources, threads=1, streams=1))
    return [outcomes[index] for index in range(len(sources))], dict(call.seconds)


def plan_slide(name: str, kept_tables: tuple[Path, ...], source: Input) -> tuple[Outcome | Slide, dict[str, float]]:
    """Look at an image that is to be done by blocks; return its outcome if it is finished or cannot be done."""
    plugin = _plugin(name)
    call = _call(plugin, kept_tables)
    try:
        with closing(open_by_blocks(call, source)), call.timed("read"):
            sha256 = digest_of(source)
        finished = call.find_finished(source, sha256)
        if finished:
            return finished, dict(call.seconds)
        work = plugin.work(call, source, sha256)
        places = [block.place for block in work.missing]
        return Slide(sha256, len(work.grid.rows), len(work.grid.columns), places), dict(call.seconds)
    except Exception as error:
        return call.fail(source, error), dict(call.seconds)


def predict_block(
    name: str, kept_tables: tuple[Path, ...], source: Input, sha256: str, place: tuple[int, int]
) -> tuple[Outcome | None, dict[str, float]]:
    """Predict a block of an image, whose neighbours above and to the left are finished."""
    plugin = _plugin(name)
    call = _call(plugin, kept_tables)
    try:
        work = replace(plugin.work(call, source, sha256), timed=call.timed)
        work.do(work.grid.block(*place))
        return None, dict(call.seconds)
    except Exception as error:
        return call.fail(source, error), dict(call.seconds)


def finish_slide(
    name: str, kept_tables: tuple[Path, ...], source: Input, sha256: str
) -> tuple[Outcome, dict[str, float]]:
    """Stitch the blocks of an image, all of which are finished, and write its results."""
    plugin = _plugin(name)
    call = _call(plugin, kept_tables)
    try:
        work = replace(plugin.work(call, source, sha256), timed=call.timed)
        return call.save(source, sha256, work.result(source.name)), dict(call.seconds)
    except Exception as error:
        return call.fail(source, error), dict(call.seconds)


def _plugin(name: str) -> CallPlugin:
    worker = get_worker()
    plugin = worker.plugins.get(name)
    if not isinstance(plugin, CallPlugin):
        raise WorkerError(f"The worker {worker.address} was not prepared for this call; run the same command again")
    if not plugin.problem and plugin.directory and os.getcwd() != plugin.directory:
        plugin.problem = f"The worker {worker.address} cannot be used: it has left {plugin.directory}"
    if plugin.problem:
        raise WorkerError(plugin.problem)
    return plugin


def _call(plugin: CallPlugin, kept_tables: tuple[Path, ...]) -> Call:
    """Return the call with clocks of its own."""
    arguments = plugin.arguments | {"kept_tables": kept_tables}
    return Call(predictor=plugin.call.predictor, outputs=plugin.call.outputs, **arguments)

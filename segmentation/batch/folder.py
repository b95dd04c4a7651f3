"""Many images into a folder of results: finished ones are skipped, and one bad image never stops the others.

``masks/``, ``labels/`` and so on hold a file for each image; ``nuclei.csv`` and the other tables, and ``report.html``,
cover all results of the same settings that lie in the folder; ``summary.json`` says what the call did. Tables, pages
and summary are removed when a call begins and written when it ends.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segmentation.atomic import is_unfinished
from segmentation.batch.call import FAILED, Call, Outcome
from segmentation.batch.inputs import Input, Shard
from segmentation.batch.joining import Partitions, is_table, remove_table
from segmentation.batch.locks import shared_lock
from segmentation.batch.outputs import ImageOutput, Output, PartitionedTable
from segmentation.batch.pipeline import run_pipeline
from segmentation.batch.records import RECORDS, Records, is_inside, mark_of
from segmentation.batch.stages import finish, may_succeed_alone, predict, predict_by_blocks, read
from segmentation.batch.tables import read_summary, summary_name, write_tables
from segmentation.data.large import LARGEST_WHOLE
from segmentation.prediction.cores import available_cores
from segmentation.prediction.engines import StoppableEngine
from segmentation.prediction.predictor import Predictor

# More threads only compete for the interpreter's lock.
MOST_THREADS = 4


#: ``run(call, sources, report_block)`` predicts the sources and yields the index and the outcome of each.
Runner = Callable[[Call, Sequence[Input], Callable[[str, int, int], None]], Iterable[tuple[int, Outcome]]]


class FolderError(ValueError):
    """The output folder cannot be used; the message is one sentence."""


def predict_folder(
    inputs: Sequence[Input],
    folder: Path,
    predictor: Predictor,
    outputs: Mapping[str, Output],
    *,
    overwrite: bool = False,
    shard: Shard | None = None,
    report: Callable[[Outcome], None] = lambda outcome: None,
    report_block: Callable[[str, int, int], None] = lambda name, done, total: None,
    warn: Callable[[str], None] = lambda sentence: None,
    largest_whole: int = LARGEST_WHOLE,
    passed_over: Mapping[str, int] | None = None,
    run: Runner | None = None,
) -> list[Outcome]:
    """Predict images and write what is asked for; return an outcome for each, in the order of the inputs.

    Parameters
    ----------
    inputs : sequence of Input
        All images of the call, those of other shards too.
    folder : Path
        Is made if it does not exist.
    outputs : mapping of str to Output
        What to write, by name.
    overwrite : bool
        Predict finished images again.
    shard : Shard, optional
        Which part of the images to predict. The tables cover what all shards have finished so far, so the last one to
        end leaves them complete; the summary is of this shard alone and has a name of its own.
    report, report_block, warn : callable
        Told of each image that is done, skipped or failed; of each block of a large image (the name of its results, the
        number of finished blocks and of all); in a sentence, of a large image that it waits for, because another call
        is at work on it, and at the end of results that the tables do not cover.
    largest_whole : int
        TIFF files of more pixels are predicted by blocks, after all others; so are Zarr stores of any size.
    run : Runner, optional
        Predicts the images, by default `predict_here`; `segmentation.batch.cluster.Cluster` does it elsewhere.
    passed_over : mapping of str to int, optional
        Files that are no images, by suffix, for the summary.

    Raises
    ------
    FolderError
        If the folder cannot be written to, or holds files that no prediction wrote where results belong.
    """
    started = time.perf_counter()
    folder = Path(folder)
    own = shard.select(inputs) if shard else inputs
    with ExitStack() as stack:
        try:
            folders = _make_folders(folder, outputs, summary_name(shard))
            # Other processes may be writing; with shards even on other machines, where locks may not reach.
            clean = partial(_remove_unfinished, [] if shard else folders)
            stack.enter_context(shared_lock(folder / RECORDS / "lock", clean))
            kept = _remove_tables(folder, predictor.settings, outputs.values(), summary_name(shard))
        except OSError as error:
            raise FolderError(f"The output folder {folder} cannot be written to ({error.strerror})") from error
        call = Call(folder, predictor, outputs, overwrite, largest_whole, kept, passed_over or {}, say=warn)
        by_index: dict[int, Outcome] = {}
        tables = {key: output for key, output in outputs.items() if isinstance(output, PartitionedTable)}
        names = [source.name for source in inputs]
        partitions = {key: Partitions(folder, table, names) for key, table in tables.items()}
        try:
            for index, outcome in (run or predict_here)(call, own, report_block):
                by_index[index] = outcome
                for table in partitions.values():
                    table.add(outcome.input.name, outcome.status == FAILED)
                report(outcome)
            outcomes = [by_index[index] for index in sorted(by_index)]
            write_tables(call, inputs, outcomes, shard, started, partitions, warn)
        except OSError as error:
            raise FolderError(
                f"Tables and summary cannot be written to the output folder {folder} ({error.strerror or error}); the "
                "images that are done are kept, and the same command goes on from there"
            ) from error
    return outcomes


def predict_here(
    call: Call, sources: Sequence[Input], report_block: Callable[[str, int, int], None]
) -> Iterator[tuple[int, Outcome]]:
    """Predict the images that are read whole, overlapped, then the others by blocks; yield index and outcome."""
    threads, large = min(MOST_THREADS, available_cores()), []
    for index, outcome in predict_whole(call, sources, threads, call.predictor.engine.streams):
        if outcome is None:
            large.append(index)
        else:
            yield index, outcome
    by_blocks = predict_by_blocks(call, [sources[index] for index in large], max(1, threads // 2), report_block)
    yield from zip(large, by_blocks, strict=True)


def predict_whole(
    call: Call, sources: Sequence[Input], threads: int, streams: int
) -> Iterator[tuple[int, Outcome | None]]:
    """Predict images that are read whole; yield index and outcome, None for those that are to be done by blocks."""
    alone = []
    for index, result in _overlapped(call, sources, threads, streams):
        if may_succeed_alone(result):
            alone.append(index)
        else:
            yield index, call.fail(sources[index], result) if isinstance(result, Exception) else result
        del result  # the traceback of an error keeps what was in memory
    # One large image must not make others fail that were in memory at the same time: each gets all of it now.
    for index in alone:
        for _, result in _overlapped(call, [sources[index]], 1, 1):
            yield index, call.fail(sources[index], result) if isinstance(result, Exception) else result


def _overlapped(call: Call, sources: Sequence[Input], threads: int, streams: int) -> Iterator[tuple[int, Any]]:
    engine = StoppableEngine(call.predictor.engine)
    call = replace(call, predictor=call.predictor.with_engine(engine))
    stages = (lambda index: read(call, sources[index])), partial(predict, call), partial(finish, call)
    return run_pipeline(len(sources), *stages, threads, streams, engine.batch_pixels, engine.stop)


def _make_folders(folder: Path, outputs: Mapping[str, Output], summary_file: str) -> list[Path]:
    """Make the folders and see that files can be written there; refuse files of others where results belong."""
    places = {key: folder / (out.folder if isinstance(out, ImageOutput) else out.file) for key, out in outputs.items()}
    for key, place in places.items():
        is_taken = any(place.iterdir()) if place.is_dir() else place.exists()
        # Without a mark, an earlier version of this code may have written it.
        if is_taken and not (mark_of(place).exists() or any(key in record.files for record in Records(folder).all())):
            what = "holds files that no prediction wrote" if place.is_dir() else "was written by no prediction"
            raise FolderError(f"{place} {what}; name another folder with --output")
    if (folder / summary_file).exists() and not (folder / RECORDS).exists():
        raise FolderError(f"{folder / summary_file} was written by no prediction; name another folder with --output")
    folders = [places[key] for key, output in outputs.items() if isinstance(output, ImageOutput)]
    folders = [folder, folder / RECORDS, *folders]
    for own in folders:
        own.mkdir(parents=True, exist_ok=True)
        if not is_inside(own, folder):
            raise FolderError(f"{own} is a link to a folder outside {folder}; remove it, or name another --output")
        with tempfile.TemporaryFile(dir=own):  # a folder may exist and yet take no file
            pass
    for place in places.values():  # before the first result: this call may be killed
        mark_of(place).touch()
    return folders


def _remove_unfinished(folders: Collection[Path]) -> None:
    """Remove what killed processes left unfinished."""
    for own in folders:
        for unfinished in filter(is_unfinished, list(own.iterdir())):
            if unfinished.is_dir() and not unfinished.is_symlink():
                shutil.rmtree(unfinished)
            else:
                unfinished.unlink()


def _remove_tables(folder: Path, settings: dict, outputs: Collection[Output], summary_file: str) -> tuple[Path, ...]:
    """Remove the tables and pages that this call writes, and those of other settings; return the others."""
    written = {output.file for output in outputs if not isinstance(output, ImageOutput)}
    kept: list[Path] = []
    for file in folder.glob("summary*.json"):
        summary = read_summary(file) or {"tables": [], "settings": None}
        tables = [table for name in summary["tables"] if is_table(table := folder / Path(name).name)]
        if summary["settings"] == settings:
            kept += tables
        else:
            for table in tables:
                remove_table(table)
    for name in (*written, summary_file):  # the summary last, as it tells which tables there are
        remove_table(folder / name)
    return tuple(file for file in dict.fromkeys(kept) if file.name not in written and file.exists())

"""Many images into a folder of results: finished ones are skipped, and one bad image never stops the others.

``masks/``, ``labels/`` and so on hold a file for each image; ``nuclei.csv`` and the other tables, and ``report.html``,
cover all results of the same settings that lie in the folder; ``summary.json`` says what the call did. Tables, pages
and summary are removed when a call begins and written when it ends.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from segmentation.atomic import is_unfinished
from segmentation.batch.call import Call, Outcome
from segmentation.batch.inputs import Input, Shard
from segmentation.batch.outputs import ImageOutput, Output
from segmentation.batch.pipeline import run_pipeline
from segmentation.batch.records import RECORDS
from segmentation.batch.stages import finish, predict, predict_by_blocks, read
from segmentation.batch.tables import read_summary, summary_name, write_tables
from segmentation.data.large import LARGEST_WHOLE
from segmentation.prediction.cores import available_cores
from segmentation.prediction.engines import StoppableEngine
from segmentation.prediction.predictor import Predictor

# More threads only compete for the interpreter's lock.
MOST_THREADS = 4


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
        number of finished blocks and of all); and at the end, in a sentence, of results that the tables do not cover.
    largest_whole : int
        TIFF files of more pixels are predicted by blocks, after all others; so are Zarr stores of any size.

    Raises
    ------
    FolderError
        If the folder cannot be written to, or holds files that no prediction wrote where results belong.
    """
    started = time.perf_counter()
    own = shard.select(inputs) if shard else inputs
    engine = StoppableEngine(predictor.engine)
    try:
        _prepare_folder(Path(folder), outputs.values(), clean=shard is None)
        kept = _remove_tables(Path(folder), predictor.settings, outputs.values(), summary_name(shard))
    except OSError as error:
        raise FolderError(f"The output folder {folder} cannot be written to ({error.strerror})") from error
    call = Call(Path(folder), predictor.with_engine(engine), outputs, overwrite, largest_whole, kept)
    by_index: dict[int, Outcome] = {}
    for index, outcome in _predict_all(call, own, engine, report_block):
        by_index[index] = outcome
        report(outcome)
    outcomes = [by_index[index] for index in sorted(by_index)]
    try:
        write_tables(call, inputs, outcomes, shard, started, warn)
    except OSError as error:
        raise FolderError(
            f"Tables and summary cannot be written to the output folder {folder} ({error.strerror}); the images that "
            "are done are kept, and the same command goes on from there"
        ) from error
    return outcomes


def _predict_all(
    call: Call, sources: Sequence[Input], engine: StoppableEngine, report_block: Callable[[str, int, int], None]
) -> Iterator[tuple[int, Outcome]]:
    """Predict the images that are read whole, overlapped, then the others by blocks; yield index and outcome."""
    threads = min(MOST_THREADS, available_cores())
    large = []
    for index, result in run_pipeline(
        len(sources),
        lambda index: read(call, sources[index]),
        partial(predict, call),
        partial(finish, call),
        threads,
        engine.streams,
        engine.batch_pixels,
        engine.stop,
    ):
        if result is None:
            large.append(index)
        else:
            yield index, call.fail(sources[index], result) if isinstance(result, Exception) else result
    by_blocks = predict_by_blocks(call, [sources[index] for index in large], max(1, threads // 2), report_block)
    yield from zip(large, by_blocks, strict=True)


def _prepare_folder(folder: Path, outputs: Collection[Output], clean: bool) -> None:
    """Make the folders and see that files can be written there; refuse folders with files of others."""
    folders = [folder / output.folder for output in outputs if isinstance(output, ImageOutput)]
    for own in [] if (folder / RECORDS).exists() else folders:
        if own.is_dir() and any(own.iterdir()):
            raise FolderError(f"{own} holds files that no prediction wrote; name another folder with --output")
    for own in (folder, folder / RECORDS, *folders):
        own.mkdir(parents=True, exist_ok=True)
        if clean:  # what a killed process left unfinished; other shards may be writing theirs
            for unfinished in filter(is_unfinished, list(own.iterdir())):
                if unfinished.is_dir():
                    shutil.rmtree(unfinished)
                else:
                    unfinished.unlink()
        with tempfile.TemporaryFile(dir=own):  # a folder may exist and yet take no file
            pass


def _remove_tables(folder: Path, settings: dict, outputs: Collection[Output], summary_file: str) -> tuple[Path, ...]:
    """Remove the tables and pages that this call writes, and those of other settings; return the others."""
    written = {output.file for output in outputs if not isinstance(output, ImageOutput)}
    kept: list[Path] = []
    for file in folder.glob("summary*.json"):
        summary = read_summary(file) or {}
        tables = [folder / Path(name).name for name in summary.get("tables", ())]
        if summary.get("settings") == settings:
            kept += tables
        else:
            for table in tables:
                table.unlink(missing_ok=True)
    for name in (*written, summary_file):  # the summary last, as it tells which tables there are
        (folder / name).unlink(missing_ok=True)
    return tuple(file for file in dict.fromkeys(kept) if file.name not in written and file.exists())

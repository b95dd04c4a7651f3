"""Many images into a folder of results: finished ones are skipped, one bad image never stops the others.

``masks/``, ``labels/`` and so on hold a file for each image; ``nuclei.csv`` and ``submission.csv`` hold rows of all
images that the call named; ``report.html`` shows them; ``summary.json`` says what was done. The tables, the page and
the summary describe a whole call: they are removed when it begins and written when it ends.
"""

import json
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from segmentation.atomic import is_unfinished, written_whole
from segmentation.batch.inputs import Input, Shard
from segmentation.batch.outputs import ImageOutput, Output, PageOutput, TableOutput
from segmentation.batch.pipeline import run_pipeline
from segmentation.batch.records import RECORDS, Record, Records
from segmentation.batch.stages import DONE, FAILED, SKIPPED, ByBlocks, Outcome, Stages, part_file
from segmentation.data.large import LARGEST_WHOLE
from segmentation.prediction.cores import available_cores
from segmentation.prediction.engines import StoppableEngine
from segmentation.prediction.predictor import Predictor

# More threads only compete for the interpreter's lock.
MOST_THREADS = 4


class FolderError(ValueError):
    """An output folder that cannot be used; the message is one sentence."""


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
    largest_whole: int = LARGEST_WHOLE,
) -> list[Outcome]:
    """Predict images and write what is asked for.

    Parameters
    ----------
    inputs : sequence of Input
        All images of the call, those of other shards too.
    folder : Path
        Is made if it does not exist.
    predictor : Predictor
    outputs : mapping of str to Output
        What to write, by name.
    overwrite : bool
        Do finished images again.
    shard : Shard, optional
        Of which images only a part is done here. The tables hold whatever the shards have finished so far, so the last
        one to end leaves them complete; the summary is of this shard alone and has a name of its own.
    report : callable
        Told of each image as soon as it is done, skipped or failed.
    report_block : callable
        Told of each block of a large image: the name of its results, how many blocks are done, and of how many.
    largest_whole : int
        TIFF files of more pixels are done by blocks, after all others; so are Zarr stores of any size.

    Returns
    -------
    list of Outcome
        In the order of the inputs.

    Raises
    ------
    FolderError
        If the folder cannot be written to, or holds files of others where results belong.
    """
    started = time.perf_counter()
    folder = Path(folder)
    summary = folder / (f"summary-{shard.number}-of-{shard.count}.json" if shard else "summary.json")
    tables = [output for output in outputs.values() if isinstance(output, TableOutput)]
    pages = [output for output in outputs.values() if isinstance(output, PageOutput)]
    own = shard.select(inputs) if shard else inputs
    engine = StoppableEngine(predictor.engine)
    predictor = predictor.with_engine(engine)
    stages = Stages(own, folder, predictor, outputs, overwrite, largest_whole)
    try:
        _prepare_folder(folder, outputs.values(), clean=shard is None)
        _remove_stale(folder, predictor.settings)
        for file in (summary, *(folder / output.file for output in (*tables, *pages))):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"The output folder {folder} cannot be written to ({error.strerror})") from error

    outcomes: dict[int, Outcome] = {}
    large = []
    threads = min(MOST_THREADS, available_cores())
    for index, result in run_pipeline(
        len(own),
        stages.read,
        stages.predict,
        stages.finish,
        threads,
        engine.streams,
        engine.batch_pixels,
        engine.stop,
    ):
        if isinstance(result, ByBlocks):
            large.append(index)
            continue
        if isinstance(result, Exception):
            result = stages.fail(index, result)
        outcomes[index] = result
        report(result)
    for index in large:
        try:
            result = stages.predict_by_blocks(index, max(1, threads // 2), report_block)
        except Exception as error:
            result = stages.fail(index, error)
        outcomes[index] = result
        report(result)
    in_order = [outcomes[index] for index in range(len(own))]

    failed = {outcome.input.name for outcome in in_order if outcome.status == FAILED}
    shown = [source for source in inputs if source.name not in failed]
    try:
        for table in tables:
            _write_table(folder, table, shown, stages.records, predictor.settings)
        seconds = {"total": time.perf_counter() - started, **stages.seconds}
        description = _summary(in_order, predictor, outputs, shard, seconds)
        with written_whole(summary) as part:
            part.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        for page in pages:
            _write_page(folder, page, shown, len(inputs), stages.records, predictor.settings, shard)
    except OSError as error:
        raise FolderError(
            f"Tables and summary cannot be written to the output folder {folder} ({error.strerror}); the images that "
            "are done are kept, and the same command goes on from there"
        ) from error
    return in_order


def _prepare_folder(folder: Path, outputs: Sequence[Output], clean: bool) -> None:
    folders = [folder / output.folder for output in outputs if isinstance(output, ImageOutput)]
    if not (folder / RECORDS).exists():
        for own in folders:
            if own.is_dir() and any(own.iterdir()):
                raise FolderError(f"{own} holds files that no prediction wrote; name another folder with --output")
    for own in (folder, folder / RECORDS, *folders):
        own.mkdir(parents=True, exist_ok=True)
        if clean:  # of what a killed process had begun; other shards may be at work on theirs
            for unfinished in filter(is_unfinished, list(own.iterdir())):
                if unfinished.is_dir():
                    shutil.rmtree(unfinished)
                else:
                    unfinished.unlink()
        with tempfile.TemporaryFile(dir=own):  # a folder may exist and yet take no file
            pass


def _remove_stale(folder: Path, settings: dict) -> None:
    """Remove the tables and pages of calls with other settings: what they tell of is replaced image by image."""
    for file in folder.glob("summary*.json"):
        with suppress(ValueError):  # not one of ours
            summary = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(summary, dict) and summary.get("settings") != settings:
                for name in summary.get("tables", ()):
                    (folder / Path(name).name).unlink(missing_ok=True)


def _write_table(folder: Path, table: TableOutput, inputs: Sequence[Input], records: Records, settings: dict) -> None:
    """Put the rows of all finished images together, in the order of the inputs."""

    def finished() -> list[str]:
        return [record.name for record in _finished(folder, table, inputs, records, settings)]

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            header = ",".join(table.header) + "\n"
            stream.write(header.encode())
            for name in names:
                with part_file(folder, table, name).open("rb") as rows:
                    shutil.copyfileobj(rows, stream)

    names = finished()
    while True:
        with written_whole(folder / table.file) as part:
            write(part)
        now = finished()
        if now == names:
            return
        names = now  # another shard has finished images meanwhile


def _write_page(
    folder: Path,
    page: PageOutput,
    inputs: Sequence[Input],
    count: int,
    records: Records,
    settings: dict,
    shard: Shard | None,
) -> None:
    """Write a page about all finished images, in the order of the inputs."""
    pattern = f"summary-*-of-{shard.count}.json" if shard else "summary.json"

    def known() -> tuple[list[Record], list[dict]]:
        summaries = []
        for file in sorted(folder.glob(pattern)):
            with suppress(FileNotFoundError):  # another shard begins anew
                summaries.append(json.loads(file.read_text(encoding="utf-8")))
        finished = _finished(folder, page, inputs, records, settings)
        return finished, [summary for summary in summaries if summary["settings"] == settings]

    finished, summaries = known()
    while True:
        images = [(record, json.loads(part_file(folder, page, record.name).read_text())) for record in finished]
        page.write(folder / page.file, summaries, images, count)
        now = known()
        if now == (finished, summaries):
            return
        finished, summaries = now  # another shard has ended meanwhile


def _finished(
    folder: Path, output: TableOutput | PageOutput, inputs: Sequence[Input], records: Records, settings: dict
) -> list[Record]:
    """The records of the images of which a table or a page has something to say."""
    found = (records.load(source.name) for source in inputs)
    return [
        record
        for record in found
        if record and record.settings == settings and part_file(folder, output, record.name).exists()
    ]


def _summary(
    outcomes: Sequence[Outcome],
    predictor: Predictor,
    outputs: Mapping[str, Output],
    shard: Shard | None,
    seconds: Mapping[str, float],
) -> dict:
    counts = Counter(outcome.status for outcome in outcomes)
    modules = {name: sys.modules.get(name) for name in ("numpy", "cv2", "scipy", "skimage", "tifffile")}
    return {
        "images": {"all": len(outcomes), **{status: counts[status] for status in (DONE, SKIPPED, FAILED)}},
        "nuclei": sum(outcome.nuclei for outcome in outcomes),
        "failures": [
            {"name": outcome.input.name, "file": str(outcome.input.file), "reason": outcome.reason}
            for outcome in outcomes
            if outcome.status == FAILED
        ],
        "settings": predictor.settings,
        "diameters": {
            outcome.input.name: {"diameter": outcome.diameter, "scale": round(outcome.scale, 4)}
            for outcome in outcomes
            if predictor.search and outcome.status != FAILED
        },
        "outputs": list(outputs),
        "tables": [output.file for output in outputs.values() if not isinstance(output, ImageOutput)],
        "shard": f"{shard.number}/{shard.count}" if shard else None,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "libraries": {
            "python": platform.python_version(),
            predictor.engine.name: predictor.engine.version,
            **{name: module.__version__ for name, module in modules.items() if module},
        },
    }

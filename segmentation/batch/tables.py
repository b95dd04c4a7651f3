"""At the end of a call: the tables and pages about all results in the folder, and the summary of the call.

Tables cover the finished results of the present settings, whichever call made them, as long as all their files are
there. Results of other settings are left out, so that no table mixes settings.
"""

import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from segmentation import __version__
from segmentation.atomic import written_whole
from segmentation.batch.call import DONE, FAILED, SKIPPED, Call, Outcome
from segmentation.batch.inputs import Input, Shard
from segmentation.batch.joining import Partitions, write_table
from segmentation.batch.outputs import PageOutput, PartitionedTable, TableOutput
from segmentation.batch.records import RECORDS, Record, read_json

# What is read of the summary of another call.
_SUMMARY = {
    "images": {str: int},
    "failures": [{"name": str, "file": str, "reason": str}],
    "settings": dict,
    "tables": [str],
    "seconds": {"total": float},
    "libraries": {str: str},
}


def summary_name(shard: Shard | None) -> str:
    """Return the file name of the summary of a call."""
    return f"summary-{shard.number}-of-{shard.count}.json" if shard else "summary.json"


def read_summary(file: Path) -> dict | None:
    """Return the summary of an earlier call; None if there is none, or none that this code wrote."""
    return read_json(file, _SUMMARY)


def write_tables(
    call: Call,
    inputs: Sequence[Input],
    outcomes: Sequence[Outcome],
    shard: Shard | None,
    started: float,
    partitions: Mapping[str, Partitions],
    warn: Callable[[str], None],
) -> None:
    """Write the tables, the summary and the pages; tables and pages again if another call ended meanwhile.

    What was written then may lack its last images. A call that goes on writes them itself at its end.

    `inputs` are all images of the call, `outcomes` those of this shard; the call began at `started`, a time of
    `time.perf_counter`. `partitions` are those of the partitioned tables. `warn` is told in one sentence of results
    that the tables do not cover.
    """
    tables = {key: output for key, output in call.outputs.items() if isinstance(output, TableOutput)}
    pages = {key: output for key, output in call.outputs.items() if isinstance(output, PageOutput)}
    collected = tables | pages
    own_failures = [
        {"name": outcome.input.name, "file": str(outcome.input.file), "reason": outcome.reason}
        for outcome in outcomes
        if outcome.status == FAILED
    ]
    failed = {failure["name"] for failure in own_failures}
    summary: dict = {}
    whole = {outcome.input.name for outcome in outcomes if outcome.status != FAILED}
    known: set[tuple[str, int]] = set()
    ended = _ended_calls(call.folder)
    while not summary or ended - known:
        known |= ended
        names, left_out, others = _look(call, collected, failed, whole, shard)
        failures = own_failures + [failure for other in others.values() for failure in other["failures"]]
        for key, table in tables.items():
            if isinstance(table, PartitionedTable):
                partitions[key].write(names[key])
            else:
                write_table(call.folder, table, names[key], failures)
        ended = _ended_calls(call.folder)  # before this one replaces the summary of another
        if not summary:
            covered = {output.file: len(names[key]) for key, output in collected.items()}
            summary = _summarise(call, outcomes, own_failures, shard, covered, started)
            with written_whole(call.folder / summary_name(shard)) as part:
                part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
                known.add((summary_name(shard), part.stat().st_mtime_ns))
        summaries = [summary for _, summary in sorted({**others, summary_name(shard): summary}.items())]
        for key, page in pages.items():
            count = len({*names[key], *(source.name for source in inputs)})
            page.write(call.folder / page.file, summaries, _read_parts(call, page, names[key]), count)
        ended |= _ended_calls(call.folder)
        whole = set()  # of these, too, others may have replaced files
    if +left_out:
        count = max(left_out.values())
        files = ", ".join(collected[key].file for key in +left_out)
        warn(
            f"{count:,} {'result' if count == 1 else 'results'} in {call.folder} not covered by {files}: made with "
            "other settings or outputs, or with a file missing now; to add them, name their images again"
        )


def _ended_calls(folder: Path) -> set[tuple[str, int]]:
    """Return the summaries that calls wrote at their ends, with the times."""
    ended = set()
    for file in folder.glob("summary*.json"):
        with suppress(FileNotFoundError):
            ended.add((file.name, file.lstat().st_mtime_ns))
    return ended


def _look(
    call: Call,
    collected: Mapping[str, TableOutput | PageOutput],
    failed: Collection[str],
    whole: Collection[str],
    shard: Shard | None,
) -> tuple[dict[str, list[str]], Counter[str], dict[str, dict]]:
    """Find the results that each table or page covers, count the others, and read the summaries of other shards.

    Of the images of the names `whole`, this call has seen that all their files are there.
    """
    summaries = {}
    for file in call.folder.glob(f"summary-*-of-{shard.count}.json") if shard else ():
        other = read_summary(file)
        if other and other["settings"] == call.predictor.settings and file.name != summary_name(shard):
            summaries[file.name] = other
    names: dict[str, list[str]] = {key: [] for key in collected}
    left_out: Counter[str] = Counter()
    for record in call.records.all() if collected else ():
        if record.name in failed:
            continue
        if record.name in whole and record.settings == call.predictor.settings:
            for own in names.values():
                own.append(record.name)
            continue
        there = {file for file, size in record.sizes.items() if call.records.is_intact(file, size)}
        is_own = record.settings == call.predictor.settings and there == record.sizes.keys()
        # Where a user deleted all files of an image, the parts of tables in .records remain; they count no more.
        files = {file for file in record.sizes if not file.startswith(RECORDS)} or record.sizes.keys()
        for key, output in collected.items():
            if is_own and call.has_part(record, key, output):
                names[key].append(record.name)
            else:
                left_out[key] += bool(files & there)
    return names, left_out, summaries


def _read_parts(call: Call, page: PageOutput, names: Sequence[str]) -> Iterator[tuple[Record, dict]]:
    """Yield record and part of each image, one after the other: all of them may not fit in memory."""
    for name in names:
        record, part = call.records.load(name), read_json(call.folder / page.part_file(name), page.form)
        if record and part is not None:
            yield record, part


def _summarise(
    call: Call,
    outcomes: Sequence[Outcome],
    failures: Sequence[dict],
    shard: Shard | None,
    covered: Mapping[str, int],
    started: float,
) -> dict:
    """Return the summary of a call; `covered` counts the images in each table."""
    predictor = call.predictor
    seconds = {"total": time.perf_counter() - started, **call.seconds}
    counts = Counter(outcome.status for outcome in outcomes)
    modules = {name: sys.modules.get(name) for name in ("numpy", "cv2", "scipy", "skimage", "tifffile")}
    return {
        "version": __version__,
        "images": {"all": len(outcomes), **{status: counts[status] for status in (DONE, SKIPPED, FAILED)}},
        "nuclei": sum(outcome.nuclei for outcome in outcomes),
        "failures": failures,
        "passed_over": dict(call.passed_over),
        "settings": predictor.settings,
        "diameters": {
            outcome.input.name: {"diameter": outcome.diameter, "scale": round(outcome.scale, 4)}
            for outcome in outcomes
            if predictor.search and outcome.status != FAILED
        },
        "verdicts": {outcome.input.name: outcome.verdict for outcome in outcomes if outcome.verdict},
        "outputs": list(call.outputs),
        "tables": [*covered, *(table.name for table in call.kept_tables if table.exists())],
        "images_in_tables": covered,
        "shard": f"{shard.number}/{shard.count}" if shard else None,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "libraries": {
            "python": platform.python_version(),
            predictor.engine.name: predictor.engine.version,
            **{name: module.__version__ for name, module in modules.items() if module},
        },
    }

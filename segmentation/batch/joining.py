"""Join the rows that were kept of each image to a table: one file, or a folder of partitions that grows."""

import csv
import io
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from segmentation.atomic import written_whole
from segmentation.batch.outputs import PartitionedTable, TableOutput, open_csv, read_header, write_rows
from segmentation.batch.records import RECORDS, is_regular, natural_order

# Images in a partition.
PARTITION = 1000


def write_table(folder: Path, table: TableOutput, names: Sequence[str], failures: Sequence[dict]) -> None:
    """Write a table of the rows of images, and of those that failed, in natural order of the images' names."""
    failed: dict[str, Sequence] = {}
    if table.failed_row:
        done = set(names)
        failed = {
            one["name"]: table.failed_row(one["name"], one["file"], one["reason"])
            for one in failures
            if one["name"] not in done
        }
    with written_whole(folder / table.file) as temporary, open_csv(temporary, "w") as stream:
        _join(stream, folder, table, sorted([*names, *failed], key=natural_order), failed)


class Partitions:
    """The files of a partitioned table, ``part-00000.parquet`` and so on.

    Each is about `PARTITION` images that follow each other in natural order of the names, and is written as soon as all
    of them are done or have failed; at the end those that are not as they should be are written again.
    """

    def __init__(self, folder: Path, table: PartitionedTable, names: Collection[str]) -> None:
        self._folder, self._table = folder, table
        self._images = sorted(names, key=natural_order)  # failed ones too, so that the others keep their partitions
        self._place = {name: index // PARTITION for index, name in enumerate(self._images)}
        self._waiting = [len(images) for images in _chunks(self._images)]
        self._done: list[list[str]] = [[] for _ in self._waiting]
        self._written: dict[str, tuple[list[str], list[str]]] = {}  # by file: names of the images, and columns

    def add(self, name: str, failed: bool) -> None:
        """Take note that an image is done or has failed."""
        place = self._place[name]
        self._waiting[place] -= 1
        if not failed:
            self._done[place].append(name)
        if self._waiting[place] == 0:
            self._write(place, sorted(self._done[place], key=natural_order), [])

    def write(self, names: Sequence[str]) -> None:
        """Write the whole table, about the images of these names; all partitions then have the same columns."""
        images = sorted({*self._images, *names}, key=natural_order)
        done = set(names)
        partitions = [[name for name in chunk if name in done] for chunk in _chunks(images)] or [[]]
        columns: list[str] = []
        for _ in range(2):
            for place, own in enumerate(partitions):
                columns = self._write(place, own, columns)
        remove_table(self._folder / self._table.file, keep=len(partitions))

    def _write(self, place: int, names: list[str], columns: list[str]) -> list[str]:
        """Write a partition with at least these columns, unless it is written; return its columns."""
        file = _partition(self._folder / self._table.file, place)
        written, own = self._written.get(file.name, (None, []))
        if written == names and own[: len(columns)] == columns:
            return own
        file.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder / RECORDS) as csv_file:
            rows = io.TextIOWrapper(csv_file, newline="", encoding="utf-8", errors="surrogateescape")
            own = _join(rows, self._folder, self._table, names, {}, columns)
            rows.flush()
            csv_file.seek(0)
            with written_whole(file) as temporary:
                self._table.write(temporary, csv_file, own)
        self._written[file.name] = names, own
        return own


def is_table(path: Path) -> bool:
    """Tell whether there is a table that a call may have written: a regular file, or a folder of partitions."""
    return is_regular(path) or (path.suffix == ".parquet" and path.is_dir() and not path.is_symlink())


def remove_table(table: Path, keep: int = 0) -> None:
    """Remove a table, or of one in partitions those after the first `keep`; files that are no partitions stay."""
    if is_regular(table) or not is_table(table):
        table.unlink(missing_ok=True)
        return
    kept = {_partition(table, place) for place in range(keep)}
    for file in {*table.glob("part-*.parquet")} - kept:
        file.unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty
        table.rmdir()


def _partition(table: Path, place: int) -> Path:
    return table / f"part-{place:05d}.parquet"


def _chunks(images: Sequence[str]) -> list[Sequence[str]]:
    return [images[first : first + PARTITION] for first in range(0, len(images), PARTITION)]


def _join(
    stream: IO[str],
    folder: Path,
    table: TableOutput,
    names: Sequence[str],
    failed: Mapping[str, Sequence],
    columns: Iterable[str] = (),
) -> list[str]:
    """Write the rows of images with these columns first, and those that images have besides; return all columns."""
    joined = list(columns) or list(table.header)
    while further := _write_parts(stream, folder, table, joined, names, failed):
        joined += further  # which no image before this one has: begin again
        stream.truncate(stream.seek(0))
    return joined


def _write_parts(
    stream: IO[str],
    folder: Path,
    table: TableOutput,
    columns: Sequence[str],
    names: Sequence[str],
    failed: Mapping[str, Sequence],
) -> list[str]:
    """Write the rows of images; stop at one with further columns than these, and return them."""
    write_rows(stream, [columns])
    for name in names:
        if name in failed:
            write_rows(stream, [[*failed[name], *[""] * (len(columns) - len(failed[name]))]])
            continue
        with open_csv(folder / table.part_file(name), "r") as part:
            header = read_header(part)
            if header == columns:
                shutil.copyfileobj(part, stream)
            elif further := [column for column in header if column not in columns]:
                return further
            else:
                rows = csv.DictReader(part, header)
                write_rows(stream, ([row.get(column) or "" for column in columns] for row in rows))
    return []

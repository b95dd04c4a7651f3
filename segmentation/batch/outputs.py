"""The kinds of outputs that a call can write; the formats themselves are in `segmentation.results`.

A table or a page is about all images of a folder. Its part about one image is written when that image is finished, and
kept in ``.records``; the tables and pages are put together from these parts.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np

from segmentation.atomic import written_whole
from segmentation.batch.records import RECORDS, read_json
from segmentation.data.images import Image
from segmentation.prediction.trust import Verdict

if TYPE_CHECKING:
    from segmentation.data.large import LargeImage
    from segmentation.large.predict import Measure
    from segmentation.large.result import LargePrediction


class LargeImageError(ValueError):
    """An image cannot be predicted by blocks as asked; the message is one sentence."""


def _refuse(*arguments: object) -> NoReturn:
    """Stand in where an output has no function for images that are predicted by blocks."""
    raise LargeImageError("This output cannot be written of an image that is predicted by blocks")


@dataclass(frozen=True, eq=False)
class Prediction:
    """All that is known about a predicted image."""

    name: str  # of its results
    image: Image
    labels: np.ndarray  # (H, W) int32: 0 = background, 1..n
    channels: np.ndarray  # (H, W, C) float32, what the network gave; the first is the probability of foreground
    file: str = ""  # the image file, as the call named it
    scale: float = 1.0  # pixels that the network saw for each pixel of the image
    diameter: float | None = None  # of the nuclei, in pixels, where the predictor looked for it and found nuclei
    scores: np.ndarray | None = None  # (n,) float64, as in `segmentation.prediction.trust.Found`
    verdict: Verdict | None = None

    @property
    def nuclei(self) -> int:
        """The number of nuclei."""
        return int(self.labels.max(initial=0))


@dataclass(frozen=True)
class ImageOutput:
    """A file for each image, ``FOLDER/NAME.SUFFIX``: `folder` is ``masks`` and `suffix` ``.png``.

    `write` writes a prediction to a path, whole or not at all. `write_large` writes the prediction of an image that was
    predicted by blocks to a path without a suffix, and returns the file or folder that it wrote. Without it, such
    images fail if this output is asked for.
    """

    folder: str
    suffix: str
    write: Callable[[Path, Prediction], None]
    write_large: "Callable[[Path, LargePrediction], Path]" = _refuse

    def save(self, folder: Path, prediction: "Prediction | LargePrediction") -> Path:
        """Write an image's results into the output folder; return the file, or the folder of a Zarr store."""
        if isinstance(prediction, Prediction):
            file = folder / self.folder / f"{prediction.name}{self.suffix}"
            self.write(file, prediction)
            return file
        return self.write_large(folder / self.folder / prediction.name, prediction)


@dataclass(frozen=True)
class TableOutput:
    """One table for all images, such as ``nuclei.csv``, with the columns `header` whatever the images are.

    `rows` returns the rows of an image, none or more: values for `header`, then for the image's own `further_columns`.
    The table has the further columns of all images, in the order of their first appearance; where an image has no such
    column, it is empty. Of an image that is predicted by blocks, `measure` measures the nuclei of each block, and
    `rows_large` returns the rows of the whole image; without it, such images fail if this output is asked for.
    ``failed_row(name, file, reason)`` is the row of an image that failed; without it, such images have no row.
    """

    file: str
    header: Sequence[str]
    rows: Callable[[Prediction], Iterable[Sequence]]
    measure: "Measure | None" = None
    rows_large: "Callable[[LargePrediction], Iterable[Sequence]]" = _refuse
    further_columns: "Callable[[Prediction | LargePrediction], Sequence[str]]" = lambda prediction: ()
    failed_row: Callable[[str, str, str], Sequence] | None = None

    def part_file(self, name: str) -> str:
        """Return the path, from the output folder, of the header and the rows of one image."""
        return f"{RECORDS}/{name}.{Path(self.file).stem}.rows.csv"

    def save(self, folder: Path, prediction: "Prediction | LargePrediction") -> Path:
        """Write the header and the rows of one image; return the file."""
        rows = self.rows(prediction) if isinstance(prediction, Prediction) else self.rows_large(prediction)
        file = folder / self.part_file(prediction.name)
        with written_whole(file) as temporary, open_csv(temporary, "w") as stream:
            write_rows(stream, [(*self.header, *self.further_columns(prediction))])
            write_rows(stream, rows)
        return file

    def is_part(self, file: Path) -> bool:
        """Tell whether a file is a part that `save` wrote."""
        try:
            with open_csv(file, "r") as stream:
                return read_header(stream)[: len(self.header)] == list(self.header)
        except OSError:
            return False


@dataclass(frozen=True)
class PartitionedTable(TableOutput):
    """A table in a folder of several files, ``part-00000.parquet`` and so on, which can be read while it grows.

    ``write(file, csv, columns)`` writes one of them from its rows, an open binary file with the columns in its first
    line.
    """

    write: Callable[[Path, IO[bytes], Sequence[str]], None] = _refuse


@dataclass(frozen=True)
class PageOutput:
    """One page about all images, such as ``report.html``.

    `part` and `part_large` return what the page says of an image, and of one that was predicted by blocks: a dict of
    JSON's types. ``write(file, summaries, images, count)`` writes the page from the summaries of the calls that have
    ended (several if shards share the work), an iterator over the record and the part of each finished image in natural
    order of the names, and the number of all images, those that failed or are not done yet included. `form` is that of
    a part, for `has_form`; a part without it counts as not there.
    """

    file: str
    part: Callable[[Prediction], dict]
    part_large: "Callable[[LargePrediction], dict]"
    write: Callable[..., None]
    form: Any = dict

    def part_file(self, name: str) -> str:
        """Return the path, from the output folder, of the part about one image; not ``.json``, in which records end."""
        return f"{RECORDS}/{name}.{Path(self.file).stem}.jsonl"

    def save(self, folder: Path, prediction: "Prediction | LargePrediction") -> Path:
        """Write the part about one image; return the file."""
        part = self.part(prediction) if isinstance(prediction, Prediction) else self.part_large(prediction)
        file = folder / self.part_file(prediction.name)
        with written_whole(file) as temporary:
            temporary.write_text(json.dumps(part, separators=(",", ":")))
        return file

    def is_part(self, file: Path) -> bool:
        """Tell whether a file is a part that `save` wrote."""
        return read_json(file, self.form) is not None


Output = ImageOutput | TableOutput | PageOutput


def check_outputs(image: "LargeImage", outputs: Mapping[str, Output]) -> None:
    """Raise LargeImageError if some outputs cannot be written of an image that is predicted by blocks."""
    missing = [name for name, output in outputs.items() if _refuse in vars(output).values()]
    if missing:
        height, width = image.shape
        raise LargeImageError(
            f"{image.file} has {width:,} x {height:,} pixels and is done by blocks, of which {' and '.join(missing)} "
            f"cannot be written: name only others after --outputs"
        )


def open_csv(file: Path, mode: str) -> IO[str]:
    """Open a table as text. Names of files need not be text: bytes that are no characters stay as they are."""
    return open(file, mode, newline="", encoding="utf-8", errors="surrogateescape")


def read_header(stream: IO[str]) -> list[str]:
    """Read the columns of a table from its beginning; none if it is no table."""
    try:
        return next(csv.reader(stream), [])
    except csv.Error:
        return []


def write_rows(stream: IO[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows of a table; those with a carriage return in quotes, which `csv` forgets before Python 3.13."""
    plain = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in map(list, rows):
        (quoted if "\r" in "".join(map(str, row)) else plain).writerow(row)

"""What a call writes: the interface between the pipeline and the formats of `segmentation.results`.

A table or a page is about all images. What it says of one is written when that image is done, and kept.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segmentation.data.images import Image
from segmentation.data.large import LargeImage

if TYPE_CHECKING:
    from segmentation.batch.records import Record
    from segmentation.large.predict import Measure
    from segmentation.large.result import LargePrediction


@dataclass(frozen=True, eq=False)
class Prediction:
    """All that is known about a predicted image.

    Attributes
    ----------
    name : str
        Of its results.
    image : Image
        At native depth.
    labels : (H, W) ndarray of int32
        0 = background, 1..n.
    channels : (H, W, C) ndarray of float32
        What the network gave; the first channel is the probability of foreground.
    """

    name: str
    image: Image
    labels: np.ndarray
    channels: np.ndarray


@dataclass(frozen=True)
class ImageOutput:
    """A file for each image.

    Attributes
    ----------
    folder, suffix : str
        Of the files: ``masks/NAME.png``.
    write : callable
        Writes a prediction to a path, whole or not at all.
    write_large : callable, optional
        Writes the prediction of a picture that was done by blocks to a path without a suffix; returns what it wrote, a
        file or a folder. Without it, no such picture is done if this output is asked for.
    """

    folder: str
    suffix: str
    write: Callable[[Path, Prediction], None]
    write_large: "Callable[[Path, LargePrediction], Path] | None" = None

    @property
    def takes_large(self) -> bool:
        """Whether it can be written of a picture that was done by blocks."""
        return self.write_large is not None


@dataclass(frozen=True)
class TableOutput:
    """One table for all images.

    Attributes
    ----------
    file : str
        ``nuclei.csv``
    header : sequence of str
    rows : callable
        The rows of an image, none or more.
    measure, rows_large : callable, optional
        The same of a picture that is done by blocks: what is to be measured of the nuclei of each block, and the rows
        of the whole. Without them, no such picture is done if this output is asked for.
    """

    file: str
    header: Sequence[str]
    rows: Callable[[Prediction], Iterable[Sequence]]
    measure: "Measure | None" = None
    rows_large: "Callable[[LargePrediction], Iterable[Sequence]] | None" = None

    @property
    def takes_large(self) -> bool:
        """Whether it can be written of a picture that was done by blocks."""
        return self.rows_large is not None

    @property
    def part_suffix(self) -> str:
        """Of the files that keep the rows of one image."""
        return f".{self.file}"

    def write_part(self, file: Path, prediction: Prediction) -> None:
        """Write the rows of one image."""
        _write_rows(file, self.rows(prediction))

    def write_large_part(self, file: Path, prediction: "LargePrediction") -> None:
        """Write the rows of a picture that was done by blocks."""
        _write_rows(file, self.rows_large(prediction))


@dataclass(frozen=True)
class PageOutput:
    """One page about all images.

    Attributes
    ----------
    file : str
        ``report.html``
    part, part_large : callable
        What the page says of an image, and of one that was done by blocks: a dict of JSON's types.
    write : callable
        ``write(file, summaries, images, count)``, whole or not at all: from the summaries of the calls that have ended
        (several if shards share the work), the record and the part of each finished image in the order of the call,
        and the number of images of the call.
    """

    file: str
    part: Callable[[Prediction], dict]
    part_large: "Callable[[LargePrediction], dict]"
    write: "Callable[[Path, Sequence[dict], Sequence[tuple[Record, dict]], int], None]"

    takes_large = True

    @property
    def part_suffix(self) -> str:
        """Of the files that keep the parts; not ``.json``, in which records end."""
        return f".{Path(self.file).stem}.jsonl"

    def write_part(self, file: Path, prediction: Prediction) -> None:
        """Write the part of one image."""
        file.write_text(json.dumps(self.part(prediction), separators=(",", ":")))

    def write_large_part(self, file: Path, prediction: "LargePrediction") -> None:
        """Write the part of a picture that was done by blocks."""
        file.write_text(json.dumps(self.part_large(prediction), separators=(",", ":")))


Output = ImageOutput | TableOutput | PageOutput


class LargeImageError(ValueError):
    """An output that cannot be written for a picture that is predicted by blocks; the message is one sentence."""


def check_outputs(image: LargeImage, outputs: Mapping[str, Output]) -> None:
    """Raise LargeImageError if one of the outputs cannot be written for a picture that is predicted by blocks."""
    missing = [name for name, output in outputs.items() if not output.takes_large]
    if missing:
        height, width = image.shape
        raise LargeImageError(
            f"{image.file} has {width:,} x {height:,} pixels and is done by blocks, of which {' and '.join(missing)} "
            f"cannot be written: name only others after --outputs"
        )


def _write_rows(file: Path, rows: Iterable[Sequence]) -> None:
    # Names of files need not be text: what is no character stays as it is.
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)

"""What happens to one image: read, predict, finish, or fail."""

import csv
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segmentation.atomic import written_whole
from segmentation.data.images import Image, read_image
from segmentation.prediction.inputs import Input
from segmentation.prediction.outputs import ImageOutput, Output, Prediction, TableOutput
from segmentation.prediction.pipeline import Prepared
from segmentation.prediction.predictor import Predictor
from segmentation.prediction.records import RECORDS, Record, Records
from segmentation.prediction.tiling import padded_shape

DONE, SKIPPED, FAILED = "done", "skipped", "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes
    ----------
    input : Input
    status : str
        "done" now, "skipped" because it was done by an earlier call, or "failed".
    nuclei : int
    reason : str
        Why it failed: one sentence that names the file.
    """

    input: Input
    status: str
    nuclei: int = 0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class _Content:
    """An image file in memory, so that what is decoded is what was hashed."""

    file: Path
    content: bytes

    @property
    def name(self) -> str:
        return self.file.name

    def read_bytes(self) -> bytes:
        return self.content

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True, eq=False)
class _Job:
    input: Input
    sha256: str
    image: Image
    prepared: np.ndarray


class Stages:
    """The three stages of `run_pipeline` for images on disk.

    Attributes
    ----------
    records : Records
    seconds : Counter
        Time spent in each stage, all threads together.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        folder: Path,
        predictor: Predictor,
        outputs: Mapping[str, Output],
        overwrite: bool,
    ):
        self.records = Records(folder)
        self.seconds = Counter()
        self._inputs = inputs
        self._folder = folder
        self._predictor = predictor
        self._outputs = outputs
        self._overwrite = overwrite
        self._lock = threading.Lock()

    def read(self, index: int) -> Prepared | Outcome:
        """Read, look whether it is finished, normalise."""
        source = self._inputs[index]
        with self._timed("read"):
            try:
                content = source.file.read_bytes()
            except OSError:
                read_image(source.file)  # says it in a sentence
                raise
            sha256 = hashlib.sha256(content).hexdigest()
            record = self.records.load(source.name)
            if not self._overwrite and self.records.is_finished(
                record, sha256, self._predictor.settings, self._outputs.keys()
            ):
                return Outcome(source, SKIPPED, record.nuclei)
            image = read_image(_Content(source.file, content))
            prepared = self._predictor.prepare(image)
        height, width = prepared.shape[:2]
        shape = padded_shape(height, width, self._predictor.divisor)
        return Prepared(shape, height * width, _Job(source, sha256, image, prepared))

    def predict(self, jobs: Sequence[_Job]) -> list[np.ndarray]:
        """Run the network."""
        with self._timed("predict"):
            return self._predictor.predict([job.prepared for job in jobs])

    def finish(self, job: _Job, channels: np.ndarray) -> Outcome:
        """Decode, write, and record that it is done."""
        with self._timed("decode"):
            labels = self._predictor.decode(channels)
        name = job.input.name
        prediction = Prediction(name, job.image, labels, channels)
        nuclei = int(labels.max())
        with self._timed("write"):
            files = {key: self._write(output, prediction) for key, output in self._outputs.items()}
            earlier = self.records.load(name)
            if earlier and (earlier.sha256, earlier.settings) == (job.sha256, self._predictor.settings):
                files = earlier.files | files
            settings = self._predictor.settings
            self.records.store(Record(name, str(job.input.file), job.sha256, settings, nuclei, files))
        return Outcome(job.input, DONE, nuclei)

    def fail(self, index: int, error: Exception) -> Outcome:
        """Remove what an earlier call wrote for the image, lest it be taken for the result of this one."""
        source = self._inputs[index]
        self.records.discard(source.name)
        return Outcome(source, FAILED, reason=_sentence(source, error))

    def _write(self, output: Output, prediction: Prediction) -> dict[str, int]:
        if isinstance(output, ImageOutput):
            file = self._folder / output.folder / f"{prediction.name}{output.suffix}"
            output.write(file, prediction)
        else:
            file = rows_file(self._folder, output, prediction.name)
            with written_whole(file) as part:
                _write_rows(part, output.rows(prediction))
        return {file.relative_to(self._folder).as_posix(): file.stat().st_size}

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - started


def rows_file(folder: Path, table: TableOutput, name: str) -> Path:
    """Where the rows of one image are kept until the tables are put together."""
    return folder / RECORDS / f"{name}.{table.file}"


def _write_rows(file: Path, rows) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def _sentence(source: Input, error: Exception) -> str:
    """Say in one sentence that names the file what went wrong with it."""
    text = " ".join(str(error).split()) or "no message"
    if str(source.file) in text:
        return text
    return f"{source.file} failed: {type(error).__name__}, {text}"

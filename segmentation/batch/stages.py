"""What happens to one image: read, predict, finish, or fail; or, to a large one, all by blocks."""

import hashlib
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from segmentation.atomic import written_whole
from segmentation.batch.inputs import Input
from segmentation.batch.outputs import ImageOutput, Output, PageOutput, Prediction, TableOutput, check_outputs
from segmentation.batch.pipeline import ReadImage
from segmentation.batch.records import RECORDS, Record, Records
from segmentation.data.images import Image, read_image
from segmentation.data.large import LARGEST_WHOLE, LargeImage, content_digest, open_large
from segmentation.large.blocks import BLOCKS_AT_ONCE
from segmentation.prediction.cores import streams_for
from segmentation.prediction.predictor import Predictor, ScaledOutput
from segmentation.prediction.tiling import padded_shape

DONE, SKIPPED, FAILED = "done", "skipped", "failed"


class TakenError(ValueError):
    """Results of another image have the name of an image's; the message is one sentence."""


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
    scale : float
        Pixels that the network saw for each pixel of the image.
    diameter : float, optional
        Of the nuclei, in pixels, where the predictor looked for it and found nuclei.
    """

    input: Input
    status: str
    nuclei: int = 0
    reason: str = ""
    scale: float = 1.0
    diameter: float | None = None


@dataclass(frozen=True)
class ByBlocks:
    """In place of what was read: an image too large for that, which `Stages.predict_by_blocks` does."""


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
        largest_whole: int = LARGEST_WHOLE,
    ):
        self.records = Records(folder)
        self.seconds = Counter()
        self._inputs = inputs
        self._folder = folder
        self._predictor = predictor
        self._outputs = outputs
        self._overwrite = overwrite
        self._largest_whole = largest_whole
        self._lock = threading.Lock()

    @cached_property
    def _by_blocks(self) -> Predictor:
        """The predictor with an engine for several blocks at once."""
        return self._predictor.with_engine(self._predictor.engine.with_streams(streams_for(BLOCKS_AT_ONCE)))

    def read(self, index: int) -> ReadImage | Outcome | ByBlocks:
        """Read, look whether it is finished, normalise."""
        source = self._inputs[index]
        with self._timed("read"):
            large = open_large(source.file, self._predictor.channel, self._largest_whole)
            if large is not None:
                large.close()
                return ByBlocks()
            try:
                content = source.file.read_bytes()
            except OSError:
                read_image(source.file)  # says it in a sentence
                raise
            sha256 = hashlib.sha256(content).hexdigest()
            finished = self._find_finished(source, sha256)
            if finished:
                return finished
            image = read_image(_Content(source.file, content), self._predictor.channel)
            if self._predictor.pixel_size_um is not None:
                image = replace(image, pixel_size_um=self._predictor.pixel_size_um)
            prepared = self._predictor.prepare(image)
        height, width = prepared.shape[:2]
        shape = padded_shape(height, width, self._predictor.divisor)
        return ReadImage(shape, height * width, _Job(source, sha256, image, prepared))

    def predict(self, jobs: Sequence[_Job]) -> list[ScaledOutput]:
        """Run the network."""
        with self._timed("predict"):
            return self._predictor.predict_at_best_scale([job.prepared for job in jobs])

    def finish(self, job: _Job, fit: ScaledOutput) -> Outcome:
        """Decode, write, and record that it is done."""
        with self._timed("decode"):
            labels = fit.label_map()
        name = job.input.name
        prediction = Prediction(name, job.image, labels, fit.channels)
        nuclei = int(labels.max())
        with self._timed("write"):
            files = self._clear(name, job.sha256)
            files |= {key: self._write(output, prediction) for key, output in self._outputs.items()}
            settings = self._predictor.settings
            scale, diameter = float(fit.predictor.scale), fit.diameter
            self.records.store(Record(name, str(job.input.file), job.sha256, settings, nuclei, files, scale, diameter))
        return Outcome(job.input, DONE, nuclei, scale=scale, diameter=diameter)

    def predict_by_blocks(self, index: int, threads: int, report: Callable[[str, int, int], None]) -> Outcome:
        """Do all that there is to do for a large image.

        Parameters
        ----------
        index : int
        threads : int
            How many blocks to decode at once.
        report : callable
            Told of each block: the name of the results, how many blocks are done, and of how many.

        Raises
        ------
        LargeImageError
            If an output is asked for that is not written by blocks.
        """
        source, predictor = self._inputs[index], self._predictor
        image = open_large(source.file, predictor.channel, self._largest_whole)
        try:
            with self._timed("read"):
                sha256 = content_digest(source.file)
            finished = self._find_finished(source, sha256)
            if finished:
                return finished
            if predictor.pixel_size_um is not None:
                image = replace(image, pixel_size_um=predictor.pixel_size_um)
            return self._predict_by_blocks(source, image, sha256, threads, partial(report, source.name))
        finally:
            image.close()

    def _predict_by_blocks(self, source: Input, image: LargeImage, sha256: str, threads: int, report) -> Outcome:
        # Imported here, because most calls have no such image.
        from segmentation.large.predict import predict_large

        check_outputs(image, self._outputs)
        measures = [output.measure for output in self._outputs.values() if isinstance(output, TableOutput)]
        blocks = self._folder / RECORDS / f"{source.name}.blocks"
        prediction = predict_large(
            source.name,
            image,
            sha256,
            blocks,
            self._by_blocks,
            measure=measures[0] if measures else None,
            threads=threads,
            timed=self._timed,
            report=report,
        )
        with self._timed("write"):
            files = self._clear(source.name, sha256)
            for key, output in self._outputs.items():
                if isinstance(output, ImageOutput):
                    written = output.write_large(self._folder / output.folder / source.name, prediction)
                else:
                    written = part_file(self._folder, output, source.name)
                    with written_whole(written) as part:
                        output.write_large_part(part, prediction)
                members = sorted(written.rglob("*")) if written.is_dir() else [written]
                files[key] = {
                    file.relative_to(self._folder).as_posix(): file.stat().st_size for file in members if file.is_file()
                }
            record = Record(
                source.name,
                str(source.file),
                sha256,
                self._predictor.settings,
                prediction.nuclei,
                files,
                prediction.scale,
                prediction.diameter,
            )
            self.records.store(record)
            shutil.rmtree(blocks)
        return Outcome(source, DONE, prediction.nuclei, scale=prediction.scale, diameter=prediction.diameter)

    def fail(self, index: int, error: Exception) -> Outcome:
        """Say why an image failed.

        What an earlier call wrote for it is removed if the file has changed since, lest it be taken for the result of
        this call; else it stays.
        """
        source = self._inputs[index]
        record = self.records.load(source.name)
        if record and _is_of(record, source) and self._has_changed(source, record):
            self.records.discard(source.name)
        return Outcome(source, FAILED, reason=_sentence(source, error))

    def _find_finished(self, source: Input, sha256: str) -> Outcome | None:
        """What an earlier call did that need not be done again; `TakenError` if that was another image's."""
        if self._overwrite:
            return None
        record = self.records.load(source.name)
        if self.records.is_finished(record, sha256, self._predictor.settings, self._outputs.keys()):
            return Outcome(source, SKIPPED, record.nuclei, scale=record.scale, diameter=record.diameter)
        if record and record.sha256 != sha256 and not _is_of(record, source):
            raise TakenError(
                f"{source.file}: {self._folder} holds results of another image of the name {source.name}, "
                f"{record.input}; name another folder with --output, or replace them with --overwrite"
            )
        return None

    def _clear(self, name: str, sha256: str) -> dict[str, dict[str, int]]:
        """Remove results of other content or settings before one is replaced; return what stays, as a record has it."""
        earlier = self.records.load(name)
        if earlier and (earlier.sha256, earlier.settings) == (sha256, self._predictor.settings):
            return dict(earlier.files)
        self.records.discard(name)
        return {}

    @staticmethod
    def _has_changed(source: Input, record: Record) -> bool:
        """Whether the content of a file is known to be another than that of which there are results."""
        try:
            is_path = isinstance(source.file, Path)
            sha256 = content_digest(source.file) if is_path else hashlib.sha256(source.file.read_bytes()).hexdigest()
        except OSError:
            return False
        return sha256 != record.sha256

    def _write(self, output: Output, prediction: Prediction) -> dict[str, int]:
        if isinstance(output, ImageOutput):
            file = self._folder / output.folder / f"{prediction.name}{output.suffix}"
            output.write(file, prediction)
        else:
            file = part_file(self._folder, output, prediction.name)
            with written_whole(file) as part:
                output.write_part(part, prediction)
        return {file.relative_to(self._folder).as_posix(): file.stat().st_size}

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - started


def part_file(folder: Path, output: TableOutput | PageOutput, name: str) -> Path:
    """Where what a table or a page says of one image is kept until it is put together."""
    return folder / RECORDS / f"{name}{output.part_suffix}"


def _is_of(record: Record, source: Input) -> bool:
    """Whether a record is of the file of that path, whatever that holds now."""
    return os.path.abspath(record.input) == os.path.abspath(str(source.file))


def _sentence(source: Input, error: Exception) -> str:
    """Say in one sentence that names the file what went wrong with it."""
    text = " ".join(str(error).split()) or "no message"
    if str(source.file) in text:
        return text
    return f"{source.file} failed: {type(error).__name__}, {text}"

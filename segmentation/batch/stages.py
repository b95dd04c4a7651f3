"""What is done to an image: read, predict and finish; or all of it by blocks, if it is too large to be read whole."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segmentation.batch.call import Call, Outcome, TakenError, digest_of
from segmentation.batch.inputs import Input
from segmentation.batch.locks import exclusive_lock
from segmentation.batch.outputs import Prediction, TableOutput, check_outputs
from segmentation.batch.pipeline import ReadImage
from segmentation.batch.records import RECORDS
from segmentation.command_line import printable
from segmentation.data.formats.scenes import folder_beside
from segmentation.data.images import Image, ImageError, Readable, is_special, read_image
from segmentation.data.large import as_large, open_large
from segmentation.large.blocks import BLOCKS_AT_ONCE
from segmentation.prediction.cores import streams_for
from segmentation.prediction.predictor import BestOutput, Predictor
from segmentation.prediction.tiling import padded_shape

if TYPE_CHECKING:
    from segmentation.data.archive import File
    from segmentation.data.large import LargeImage
    from segmentation.large.predict import Work


# What an image takes at most that is predicted whole, besides the 0.4 GB of the program.
_BYTES_PER_PIXEL = 85


class Job(NamedTuple):
    """An image that is ready for the network."""

    source: Input
    sha256: str
    image: Image
    prepared: np.ndarray


@dataclass(frozen=True, eq=False)
class _Content:
    """An image file in memory, so that the bytes that are decoded are those that were hashed."""

    file: "File"
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content

    def __str__(self) -> str:
        return str(self.file)


def read(call: Call, source: Input) -> ReadImage | Outcome | None:
    """Read and normalise an image; return its outcome if it is finished, or None if it is to be predicted by blocks."""
    with call.timed("read"):
        if isinstance(source.file, Path):
            if is_special(source.file):
                raise ImageError(f"{source.file} is a pipe, a socket or a device, where an image file was expected")
            large = open_large(source.file, call.predictor.channel, call.largest_whole, call.planes_of(source))
            if large is not None:
                large.close()
                return None
        planes = call.planes_of(source)
        file: Readable = source.file
        try:
            # Other pictures of the file need its content, too: it is hashed once. Of others, all is not in one file.
            if source.place or (isinstance(source.file, Path) and folder_beside(source.file)):
                sha256 = digest_of(source)
            else:
                content = source.file.read_bytes()
                file, sha256 = _Content(source.file, content), hashlib.sha256(content).hexdigest()
        except OSError:
            read_image(file, planes=planes)  # raises an error that says in a sentence why the file cannot be read
            raise
        finished = call.find_finished(source, sha256)
        if finished:
            return finished
        image = call.completed(read_image(file, call.predictor.channel, planes), source)
        height, width = image.pixels.shape[:2]
        if height * width > call.largest_whole:
            return None
        with _memory_for(source, image):
            prepared = call.predictor.prepare(image)
    shape = padded_shape(height, width, call.predictor.divisor)
    return ReadImage(shape, height * width, Job(source, sha256, image, prepared))


@contextmanager
def _memory_for(source: Input, image: Image) -> Iterator[None]:
    """Say which image needs more memory than is free, and how much."""
    try:
        yield
    except MemoryError as error:
        height, width = image.pixels.shape[:2]
        raise ImageError(
            f"{source.file} has {width:,} x {height:,} pixels, for which {height * width * _BYTES_PER_PIXEL / 1e9:.1f} "
            "GB of free memory are needed: free some, or use a machine that has more"
        ) from error


def predict(call: Call, jobs: Sequence[Job]) -> list[BestOutput]:
    """Run the network on images of one padded shape."""
    with call.timed("predict"), _memory_for(jobs[0].source, jobs[0].image):
        sizes = [job.image.pixel_size_um for job in jobs]
        return call.predictor.predict_at_best([job.prepared for job in jobs], sizes)


def finish(call: Call, job: Job, fit: BestOutput) -> Outcome:
    """Decode the label map and write the results."""
    with call.timed("decode"), _memory_for(job.source, job.image):
        found = fit.find(job.prepared)
    scale, file = float(fit.predictor.scale), str(job.source.file)
    judged = found.scores, found.verdict
    prediction = Prediction(job.source.name, job.image, found.labels, fit.channels, file, scale, fit.diameter, *judged)
    return call.save(job.source, job.sha256, prediction)


def may_succeed_alone(result: object) -> bool:
    """Tell whether an image may have failed because others took the memory, which libraries say in many ways."""
    if isinstance(result, ImageError):
        cause: BaseException | None = result
        while cause and not isinstance(cause, MemoryError):
            cause = cause.__cause__
        return cause is not None
    return isinstance(result, Exception) and not isinstance(result, OSError | TakenError)


def predict_by_blocks(
    call: Call, sources: Sequence[Input], threads: int, report: Callable[[str, int, int], None]
) -> Iterator[Outcome]:
    """Predict large images and write their results; yield the outcome of each, failed or not.

    `threads` blocks are decoded at once, and `report` is `report_block` of `predict_folder`.
    """
    predictor = None
    for source in sources:
        try:
            if predictor is None:  # one engine for all of these images, which runs several blocks at once
                engine = call.predictor.engine.with_streams(streams_for(BLOCKS_AT_ONCE))
                predictor = call.predictor.with_engine(engine)
            yield _predict(call, source, predictor, threads, partial(report, source.name))
        except Exception as error:
            yield call.fail(source, error)


def _predict(
    call: Call, source: Input, predictor: Predictor, threads: int, report: Callable[[int, int], None]
) -> Outcome:
    blocks = blocks_folder(call, source)
    with closing(open_by_blocks(call, source)) as large, lock_on(call, source):
        with call.timed("read"):
            sha256 = digest_of(source)
        finished = call.find_finished(source, sha256)
        if finished:
            return finished
        work = open_blocks(call, source, large, sha256, predictor)
        work.run(threads, report)
        outcome = call.save(source, sha256, work.result(source.name))
        shutil.rmtree(blocks)
        return outcome


def blocks_folder(call: Call, source: Input) -> Path:
    """Return where the blocks of an image are kept until it is finished."""
    return call.folder / RECORDS / f"{source.name}.blocks"


def lock_on(call: Call, source: Input) -> AbstractContextManager[None]:
    """Return a lock on an image: another call on the folder that comes to it waits, and then finds it finished."""
    blocks = blocks_folder(call, source)
    sentence = f"{printable(source.title)}: another call is at work on it in this folder; this one waits for that"
    return exclusive_lock(blocks.with_name(f"{blocks.name}.lock"), lambda: call.say(sentence))


def open_by_blocks(call: Call, source: Input) -> "LargeImage":
    """Open an image that is to be predicted by blocks."""
    file, channel = source.file, call.predictor.channel
    planes = call.planes_of(source)
    large = open_large(file, channel, call.largest_whole, planes) if isinstance(file, Path) else None
    return large or as_large(file, read_image(file, channel, planes))


def open_blocks(call: Call, source: Input, large: "LargeImage", sha256: str, predictor: Predictor) -> "Work":
    """Plan the blocks of an image, once all outputs are known to be possible."""
    # Imported here, because most calls have no such image.
    from segmentation.large.predict import open_work

    check_outputs(large, call.outputs)
    image = call.completed(large, source)
    measures = (output.measure for output in call.outputs.values() if isinstance(output, TableOutput))
    measure = next(filter(None, measures), None)
    return open_work(image, sha256, blocks_folder(call, source), predictor, measure=measure, timed=call.timed)

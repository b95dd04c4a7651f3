"""The three stages of an image that is read whole: read, predict, finish."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segmentation.batch.call import Call, Outcome
from segmentation.batch.inputs import Input
from segmentation.batch.outputs import Prediction
from segmentation.batch.pipeline import ReadImage
from segmentation.data.images import Image, read_image
from segmentation.data.large import open_large
from segmentation.prediction.predictor import ScaledOutput
from segmentation.prediction.tiling import padded_shape

if TYPE_CHECKING:
    from segmentation.data.archive import File


@dataclass(frozen=True, eq=False)
class Job:
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
            large = open_large(source.file, call.predictor.channel, call.largest_whole)
            if large is not None:
                large.close()
                return None
        try:
            content = source.file.read_bytes()
        except OSError:
            read_image(source.file)  # raises an error that says in a sentence why the file cannot be read
            raise
        sha256 = hashlib.sha256(content).hexdigest()
        finished = call.find_finished(source, sha256)
        if finished:
            return finished
        image = call.with_pixel_size(read_image(_Content(source.file, content), call.predictor.channel))
        prepared = call.predictor.prepare(image)
    height, width = prepared.shape[:2]
    shape = padded_shape(height, width, call.predictor.divisor)
    return ReadImage(shape, height * width, Job(source, sha256, image, prepared))


def predict(call: Call, jobs: Sequence[Job]) -> list[ScaledOutput]:
    """Run the network on images of one padded shape."""
    with call.timed("predict"):
        return call.predictor.predict_at_best_scale([job.prepared for job in jobs])


def finish(call: Call, job: Job, fit: ScaledOutput) -> Outcome:
    """Decode the label map and write the results."""
    with call.timed("decode"):
        labels = fit.label_map()
    scale, file = float(fit.predictor.scale), str(job.source.file)
    prediction = Prediction(job.source.name, job.image, labels, fit.channels, file, scale, fit.diameter)
    return call.save(job.source, job.sha256, prediction)

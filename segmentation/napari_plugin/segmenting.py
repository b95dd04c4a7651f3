"""Find and measure the nuclei of a layer's picture, as `predict_masks.py` does of a file."""

import shutil
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from segmentation.bundle import load_bundle
from segmentation.data.images import image_errors
from segmentation.data.large import LARGEST_WHOLE, from_source
from segmentation.large.blocks import BLOCKS_AT_ONCE
from segmentation.large.predict import open_work
from segmentation.napari_plugin.pictures import LayerPicture
from segmentation.prediction.cores import streams_for
from segmentation.prediction.engines import StoppableEngine, Stopped, open_engine
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.predictor import Predictor
from segmentation.prediction.trust import Verdict
from segmentation.results.large_labels import write_large_label_map
from segmentation.results.large_measurement import measure_large
from segmentation.results.measurement import measure_image, measure_nuclei

_THREADS = 2  # that decode blocks

Progress = tuple[int, int]


@dataclass(frozen=True)
class Settings:
    """How to find nuclei; as the arguments of `segmentation.segment`."""

    model: Path
    diameter: float | Literal["auto"] | None = "auto"
    threshold: float | None = None
    min_score: float | None = None


@dataclass(frozen=True, eq=False)
class Nuclei:
    """What was found.

    Attributes
    ----------
    labels : (H, W) ndarray of int32, or list of zarr.Array
        0 is background, 1..n are the nuclei; a pyramid, from fine to coarse, where the picture is larger than 64
        megapixels.
    table : dict of str to (n,) ndarray
        ``index``, the label, as napari looks it up; ``score``, if the model gives any; and the columns of `nuclei.csv`.
    verdict : Verdict or None
        How far to trust the result.
    gaps : int
        How many values of the picture were NaN or infinite, and taken for background.
    folder : TemporaryDirectory or None
        Where the pyramid is, as long as this object lives.
    """

    labels: Any
    table: dict[str, np.ndarray]
    verdict: Verdict | None
    gaps: int = 0
    folder: TemporaryDirectory | None = None

    @property
    def count(self) -> int:
        """The number of nuclei."""
        return len(self.table["index"])


def find_nuclei(
    picture: LayerPicture, settings: Settings, stopped: threading.Event
) -> Generator[Progress, None, Nuclei]:
    """Find the nuclei of a picture, and measure them in all its channels.

    Yields
    ------
    done, total : int
        Blocks that are done, and of how many; nothing of a picture that is done whole.

    Raises
    ------
    BundleError, DiameterError, EngineError, ImageError
        If the model, the diameter, OpenVINO or the picture cannot be used; the message is one sentence.
    Stopped
        Soon after `stopped` is set.
    """
    bundle = load_bundle(settings.model)
    streams = streams_for(BLOCKS_AT_ONCE if picture.is_large else 1)
    engine = StoppableEngine(open_engine(bundle, streams=streams), stopped)
    how = settings.threshold, None, settings.diameter
    predictor = open_predictor(bundle, engine, *how, min_score=settings.min_score)
    picture = replace(picture, stopped=stopped)
    if picture.is_large:
        return (yield from _by_blocks(picture, predictor))
    image = picture.read_whole()
    found = predictor.find(image)
    return Nuclei(found.labels, _table(measure_image(found.labels, image), found.scores), found.verdict, image.gaps)


def _by_blocks(picture: LayerPicture, predictor: Predictor) -> Generator[Progress, None, Nuclei]:
    folder = TemporaryDirectory(prefix="nuclei-")
    try:
        with image_errors(picture.name):
            large = from_source(Path(picture.name), picture)
        work = open_work(large, "", Path(folder.name) / "blocks", predictor, measure=measure_nuclei)
        yield from work.steps(_THREADS)
        prediction = work.result(picture.name)
        table = _table(measure_large(prediction), prediction.scores)
        found = table, prediction.verdict, work.image.gaps
        height, width = picture.shape
        if height * width <= LARGEST_WHOLE:
            labels = prediction.read(slice(0, height), slice(0, width)).astype(np.int32)
            folder.cleanup()
            return Nuclei(labels, *found)
        if picture.stopped.is_set():
            raise Stopped
        as_zarr = replace(prediction, image=replace(prediction.image, zarr_format=3))
        store = write_large_label_map(Path(folder.name) / "labels", as_zarr)
        shutil.rmtree(Path(folder.name) / "blocks")
        return Nuclei(_levels(store), *found, folder)
    except BaseException:
        folder.cleanup()
        raise


def _levels(store: Path) -> list:
    """Open the pyramid of an OME-Zarr label map."""
    import zarr

    group = zarr.open_group(str(store / "labels" / "nuclei"), mode="r")
    return [group[str(level)] for level in range(len(list(group.array_keys())))]


def _table(measured: dict[str, np.ndarray], scores: np.ndarray | None) -> dict[str, np.ndarray]:
    return {
        "index": measured["label"],
        **({} if scores is None else {"score": scores.round(4)}),
        **measured,
    }

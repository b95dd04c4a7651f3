"""Pair predicted label maps with the truth, by name, and score each pair."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from segmentation.data.images import ImageError
from segmentation.data.layouts import find_samples
from segmentation.data.masks import WholeMask
from segmentation.data.problems import DatasetError
from segmentation.data.samples import Sample
from segmentation.data.splits import SUBSETS, read_split
from segmentation.evaluation.scores import ImageScore, score_image

# The first is preferred where an image has several predictions. JPEG alters the values, so it cannot hold a label map.
_LABEL_MAP_SUFFIXES = (".tif", ".tiff", ".png", ".bmp", ".npy")


class EvaluationError(ValueError):
    """Predictions or truth cannot be scored; the message names the file or folder."""


@dataclass(frozen=True)
class TrueImage:
    """The truth of one image, decoded when `read` is called; its prediction is the file named `id`, of any suffix.

    `read` returns the label map, (H, W) of integers, or raises EvaluationError. `kind` and `group` come from the data
    set or the split.
    """

    id: str
    read: Callable[[], np.ndarray]
    kind: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class ScoredImage:
    """An image with its score; `problem` says why its prediction was counted as empty, if it was."""

    image: TrueImage
    score: ImageScore
    problem: str | None = None


def find_predictions(folder: Path) -> dict[str, Path]:
    """List the predicted label maps or masks of a folder by name without suffix, sorted by file name.

    They are TIFF, PNG, BMP or NumPy files, in `labels/`, else in `masks/`, else in the folder itself. Raises
    EvaluationError if there is no such folder, or no prediction in it.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder; expected one of predicted label maps.")
    inner = [folder / name for name in ("labels", "masks") if (folder / name).is_dir()]
    files = _label_maps(inner[0] if inner else folder)
    if not files:
        raise EvaluationError(f"{folder} holds no label maps ({', '.join(_LABEL_MAP_SUFFIXES)}).")
    return files


def find_truth(path: Path) -> list[TrueImage]:
    """List the true label maps of a data set, of a folder of label maps, or of a folder with label maps in `labels/`.

    Raises EvaluationError if there are none.
    """
    try:
        return [TrueImage(s.id, partial(_read_sample, s), s.kind, s.group) for s in find_samples(path)]
    except DatasetError as error:
        folder = path / "labels" if (path / "labels").is_dir() else path
        files = _label_maps(folder) if path.is_dir() and not (path / "images").is_dir() else {}
        if not files:
            raise EvaluationError(str(error)) from error
    return [TrueImage(name, partial(_read_truth, file)) for name, file in files.items()]


def choose_subset(images: Sequence[TrueImage], split: Path, subset: str) -> tuple[list[TrueImage], list[str]]:
    """Keep the images of the subset "train", "val" or "test", with the kind and group that the split gives them.

    Return them in their order, at least one, and the ids of the subset that are not among the images. Raise
    EvaluationError if there is no such subset, or none of its images is there.
    """
    if subset not in SUBSETS:
        raise EvaluationError(f"--subset is {subset!r}; expected one of {', '.join(SUBSETS)}.")
    rows = {sample_id: row for sample_id, row in read_split(split).items() if row.subset == subset}
    if not rows:
        raise EvaluationError(f"{split} has no image in the subset {subset}.")
    chosen = [
        replace(image, kind=rows[image.id].kind or image.kind, group=rows[image.id].group or image.group)
        for image in images
        if image.id in rows
    ]
    if not chosen:
        raise EvaluationError(f"none of the {len(rows)} images in the subset {subset} of {split} is in the truth.")
    return chosen, sorted(rows.keys() - {image.id for image in chosen})


def read_labels(file: Path) -> np.ndarray:
    """Read a file as a label map, (H, W) int32, by the rules of `WholeMask`, as training does.

    Raise EvaluationError if training would refuse it, too.
    """
    labels, found = WholeMask(file).read(file.stem, None)
    fatal = [problem for problem in found if problem.fatal]
    if labels is None or fatal:
        raise EvaluationError(str(fatal[0]))
    return labels


def score_predictions(images: Sequence[TrueImage], predictions: Mapping[str, Path]) -> Iterator[ScoredImage]:
    """Score predictions, as listed by `find_predictions`, one by one.

    A missing or unreadable one, or one of another size, counts as empty. Raises EvaluationError if a truth is
    unreadable, or none of the images has a prediction.
    """
    if not any(image.id in predictions for image in images):
        found = next(iter(predictions.values()))
        raise EvaluationError(
            f"{found.parent} has a prediction for none of the {len(images)} images; "
            f"expected files such as {images[0].id}.tif, found {found.name}."
        )
    for image in images:
        truth = image.read()
        prediction, problem = np.zeros(truth.shape, np.uint8), None
        file = predictions.get(image.id)
        if file is None:
            problem = f"{image.id}: no prediction of that name"
        else:
            try:
                prediction = read_labels(file)
            except EvaluationError as error:
                problem = str(error)
        if prediction.shape != truth.shape:
            got, expected = (f"{height} x {width}" for height, width in (prediction.shape, truth.shape))
            problem = (
                f"{file} has {got} pixels (rows x columns), the truth of {image.id} {expected}; expected equal sizes"
            )
            prediction = np.zeros(truth.shape, np.uint8)
        yield ScoredImage(image, score_image(truth, prediction), problem)


def _label_maps(folder: Path) -> dict[str, Path]:
    """List the label maps of a folder by name without suffix, sorted by file name."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in _LABEL_MAP_SUFFIXES and not f.name.startswith(".")]
    ranked = sorted(files, key=lambda f: (_LABEL_MAP_SUFFIXES.index(f.suffix.lower()), f), reverse=True)
    preferred = {file.stem: file for file in ranked if file.is_file()}
    return dict(sorted(preferred.items(), key=lambda item: item[1]))


def _read_sample(sample: Sample) -> np.ndarray:
    try:
        return sample.read_labels(sample.read_image().pixels.shape[:2])
    except (DatasetError, ImageError) as error:
        raise EvaluationError(f"the truth cannot be read: {error}") from error


def _read_truth(file: Path) -> np.ndarray:
    try:
        return read_labels(file)
    except EvaluationError as error:
        raise EvaluationError(f"the truth cannot be read: {error}") from error

"""Pair predicted label maps with the truth, by name, and score each pair."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from segmentation.data import problems
from segmentation.data.decoding import load_sample
from segmentation.data.layouts import find_samples
from segmentation.data.masks import WholeMask
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.samples import Sample
from segmentation.data.splits import SUBSETS, read_split
from segmentation.evaluation.scores import ImageScore, score_image

# The first is preferred where an image has several predictions. JPEG alters the values, so it cannot hold a label map.
_LABEL_MAP_SUFFIXES = (".tif", ".tiff", ".png", ".bmp", ".npy")


# What scores would be without meaning for, if the truth or a prediction is not what it seems.
_MISLEADING = frozenset({problems.BINARY, problems.POINTS, problems.INVERTED, problems.TURNED, problems.SHIFTED})


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


def find_truth(path: Path, found: list[Problem] | None = None) -> list[TrueImage]:
    """List the true label maps of a data set, of a folder of label maps, or of a folder with label maps in `labels/`.

    Where the truth is a binary mask, or seems inverted, turned or moved, `found` gets that when it is read. Raises
    EvaluationError if there are none.
    """
    try:
        return [TrueImage(s.id, partial(_read_sample, s, found), s.kind, s.group) for s in find_samples(path)]
    except DatasetError as error:
        folder = path / "labels" if (path / "labels").is_dir() else path
        files = _label_maps(folder) if path.is_dir() and not (path / "images").is_dir() else {}
        if not files:
            raise EvaluationError(str(error)) from error
    return [TrueImage(name, partial(_read_truth, file, found)) for name, file in files.items()]


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


def read_labels(file: Path, found: list[Problem] | None = None) -> np.ndarray:
    """Read a file as a label map, (H, W) int32, by the rules of `WholeMask`, as training does.

    If it is a binary mask, `found` gets that. Raise EvaluationError if training would refuse it, too.
    """
    labels, wrong = WholeMask(file).read(file.stem, None)
    fatal = [problem for problem in wrong if problem.fatal]
    if labels is None or fatal:
        raise EvaluationError(str(fatal[0]))
    _keep_misleading(wrong, found)
    return labels


def remarks(found: Iterable[Problem], named: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a sentence for each kind of problem, and for each entry of `named`, with their number and the first names.

    Examples
    --------
    >>> list(remarks([], {"predictions without an image": ["a", "b", "c", "d"], "none": []}))
    ['predictions without an image: 4 (a, b, c, ...)']
    """
    kinds = {what: list(names) for what, names in named.items() if names}
    for problem in found:
        kinds.setdefault(problem.what, []).append(problem.file)
    for what, names in kinds.items():
        yield f"{what}: {len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def score_predictions(
    images: Sequence[TrueImage], predictions: Mapping[str, Path], found: list[Problem] | None = None
) -> Iterator[ScoredImage]:
    """Score predictions, as listed by `find_predictions`, one by one; `found` gets those that are binary masks.

    A missing or unreadable one, or one of another size, counts as empty. Raises EvaluationError if a truth is
    unreadable, or none of the images has a prediction.
    """
    if not any(image.id in predictions for image in images):
        first = next(iter(predictions.values()))
        raise EvaluationError(
            f"{first.parent} has a prediction for none of the {len(images)} images; "
            f"expected files such as {images[0].id}.tif, found {first.name}."
        )
    for image in images:
        truth = image.read()
        prediction, problem = np.zeros(truth.shape, np.uint8), None
        file = predictions.get(image.id)
        if file is None:
            problem = f"{image.id}: no prediction of that name"
        else:
            try:
                prediction = read_labels(file, found)
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


def _read_sample(sample: Sample, found: list[Problem] | None) -> np.ndarray:
    loaded = load_sample(sample)
    fatal = [problem for problem in loaded.problems if problem.fatal]
    if loaded.labels is None or fatal:
        what = fatal[0] if fatal else f"sample {sample.id} ({sample.image}) has no masks"
        raise EvaluationError(f"the truth cannot be read: {what}.")
    _keep_misleading(loaded.problems, found)
    return loaded.labels


def _read_truth(file: Path, found: list[Problem] | None) -> np.ndarray:
    try:
        return read_labels(file, found)
    except EvaluationError as error:
        raise EvaluationError(f"the truth cannot be read: {error}") from error


def _keep_misleading(wrong: Iterable[Problem], found: list[Problem] | None) -> None:
    if found is not None:
        found += [problem for problem in wrong if problem.what in _MISLEADING]

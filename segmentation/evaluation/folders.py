"""Pair predicted label maps with the truth, by name, and score each pair."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from segmentation.data.images import ImageError, read_label_map
from segmentation.data.layouts import find_samples
from segmentation.data.problems import DatasetError
from segmentation.data.samples import Sample
from segmentation.evaluation.scores import ImageScore, score_image

# In the order in which they are preferred where a prediction is there twice. JPEG changes numbers and is no label map.
_LABEL_MAP_SUFFIXES = (".tif", ".tiff", ".png", ".bmp")


class EvaluationError(ValueError):
    """Predictions or truth cannot be scored; the message names the file or folder."""


@dataclass(frozen=True)
class TrueImage:
    """The truth of one image; nothing is decoded until asked for.

    Attributes
    ----------
    id : str
        A prediction belongs to it whose file name without suffix is the same.
    read : callable
        Returns the label map, (H, W) of integers; raises EvaluationError where that is impossible.
    kind, group : str or None
        As the data set or the split has them.
    """

    id: str
    read: Callable[[], np.ndarray]
    kind: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class ScoredImage:
    """An image with its score.

    Attributes
    ----------
    image : TrueImage
    score : ImageScore
    problem : str or None
        Why the prediction counted as empty: it is missing, unreadable or of another size. None where it was scored.
    """

    image: TrueImage
    score: ImageScore
    problem: str | None


def find_predictions(folder):
    """List predicted label maps or masks by name.

    Parameters
    ----------
    folder : Path
        A folder of PNG or TIFF files, or one that holds such a folder as `labels/` or, failing that, as `masks/`.

    Returns
    -------
    dict of str to Path
        Name without suffix -> file, sorted by file name.

    Raises
    ------
    EvaluationError
        If there is no such folder, or no prediction in it.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder; expected one of predicted label maps.")
    inner = [folder / name for name in ("labels", "masks") if (folder / name).is_dir()]
    files = _label_maps(inner[0] if inner else folder)
    if not files:
        raise EvaluationError(f"{folder} holds no label maps ({', '.join(_LABEL_MAP_SUFFIXES)}).")
    return files


def find_truth(path):
    """List the true label maps.

    Parameters
    ----------
    path : Path
        A data set that `find_samples` knows, a folder of label maps, or a folder that holds one as `labels/`.

    Returns
    -------
    list of TrueImage

    Raises
    ------
    EvaluationError
        If there is no truth there.
    """
    if (path / "labels").is_dir():
        files = _label_maps(path / "labels")
    else:
        try:
            return [TrueImage(s.id, _sample_reader(s), s.kind, s.group) for s in find_samples(path)]
        except DatasetError as error:
            files = _label_maps(path) if path.is_dir() else {}
            if not files:
                raise EvaluationError(str(error)) from error
    return [TrueImage(name, _label_map_reader(file)) for name, file in files.items()]


def read_labels(file):
    """Read one label map, or one mask of which the connected components (8 neighbours) become the nuclei.

    A mask is a picture whose only values are 0 and 255; any other values are labels.

    Parameters
    ----------
    file : Path

    Returns
    -------
    (H, W) ndarray of integers

    Raises
    ------
    ImageError
        If the file is no readable picture of one channel.
    """
    labels = read_label_map(file)
    if np.isin(labels, (0, 255)).all():
        labels = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)[1]
    return labels


def score_images(images, predictions):
    """Score predictions one image after the other; one that is missing, unreadable or of another size counts as empty.

    Parameters
    ----------
    images : iterable of TrueImage
    predictions : dict of str to Path
        From `find_predictions`.

    Yields
    ------
    ScoredImage

    Raises
    ------
    EvaluationError
        If a truth is unreadable.
    """
    for image in images:
        truth = image.read()
        prediction, problem = np.zeros(truth.shape, np.uint8), None
        file = predictions.get(image.id)
        if file is None:
            problem = f"{image.id}: no prediction of that name"
        else:
            try:
                prediction = read_labels(file)
            except ImageError as error:
                problem = str(error)
        if prediction.shape != truth.shape:
            problem = (
                f"{file} has {_size(prediction)} pixels (rows x columns), the truth of {image.id} {_size(truth)}; "
                "expected equal sizes"
            )
            prediction = np.zeros(truth.shape, np.uint8)
        yield ScoredImage(image, score_image(truth, prediction), problem)


def _label_maps(folder):
    """Label maps of a folder by name without suffix, sorted by file name."""
    files: Iterable[Path] = (f for f in folder.iterdir() if f.suffix.lower() in _LABEL_MAP_SUFFIXES)
    visible = sorted(f for f in files if f.is_file() and not f.name.startswith("."))
    by_name = {}
    for file in sorted(visible, key=lambda f: _LABEL_MAP_SUFFIXES.index(f.suffix.lower())):
        by_name.setdefault(file.stem, file)
    return {file.stem: file for file in visible if by_name[file.stem] == file}


def _sample_reader(sample: Sample):
    def read():
        try:
            return sample.read_labels(sample.read_image().pixels.shape[:2])
        except (DatasetError, ImageError) as error:
            raise EvaluationError(f"the truth cannot be read: {error}") from error

    return read


def _label_map_reader(file):
    def read():
        try:
            labels = read_labels(file)
        except ImageError as error:
            raise EvaluationError(f"the truth cannot be read: {error}") from error
        if labels.min() > 0:
            raise EvaluationError(f"{file} has no pixel that is 0; expected a label map with 0 for background.")
        return labels

    return read


def _size(labels):
    return f"{labels.shape[0]} x {labels.shape[1]}"

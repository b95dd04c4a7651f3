"""From what the user named to the images to train and to validate on, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from segmentation.data.cache import MEMORY_LIMIT, CachedImages, prepare
from segmentation.data.checks import check_across
from segmentation.data.dataset import describe_problems
from segmentation.data.fingerprints import Fingerprint
from segmentation.data.groups import find_groups
from segmentation.data.layouts import find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.data.problems import NOT_IN_SPLIT, DatasetError
from segmentation.data.splits import SplitRow, draw_split, read_split


@dataclass(frozen=True)
class TrainingData:
    """The images of a training.

    Attributes
    ----------
    train, val : CachedImages
    split : dict of str to SplitRow
        Where each usable sample belongs.
    digest : str
        SHA-256 over the data, decoded and normalised.
    warnings : str
        What is wrong with the data and was gone on with, as text; empty if nothing.
    """

    train: CachedImages
    val: CachedImages
    split: dict[str, SplitRow]
    digest: str
    warnings: str


def load_training_data(
    path: Path,
    split_file: Path | None,
    *,
    seed: int,
    skip_bad: bool,
    cache_folder: Path,
    memory_limit: int = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingData:
    """Find, decode, check and split a data set.

    Parameters
    ----------
    path : Path
        A folder or zip in one of the layouts of `segmentation.data.layouts`.
    split_file : Path, optional
        A split as `segmentation.data.splits.read_split` takes it. Without it one is drawn by `seed`, stratified by
        kind, with tiles of one field kept together.
    seed : int
    skip_bad : bool
        Go on without the samples that have fatal problems, instead of refusing.
    cache_folder, memory_limit, progress
        As in `segmentation.data.cache.prepare`.

    Raises
    ------
    DatasetError
        If the data or the split cannot be used; where samples have fatal problems, the message lists all of them.
    """
    data_set = find_data_set(path)
    split = read_split(split_file) if split_file else None
    prepared = prepare(data_set, Normalisation(), cache_folder, memory_limit, progress)
    usable = set(prepared.images.ids)
    if split is None:
        kinds = dict(zip(prepared.images.ids, prepared.images.kinds, strict=True))
        groups = find_groups({i: marks for i, marks in prepared.fingerprints.items() if i in usable})
        split = draw_split(kinds, groups, seed)

    problems = data_set.problems + prepared.problems
    # A split that was just drawn leaves out what cannot be used, and that is named already.
    across = check_across(data_set.samples, prepared.fingerprints, split)
    problems += [problem for problem in across if split_file or problem.what != NOT_IN_SPLIT]
    report = describe_problems(problems, path) if problems else ""
    if any(problem.fatal for problem in problems) and not skip_bad:
        raise DatasetError(
            f"{path} cannot be trained on as it is.\n{report}\n"
            "Mend these samples, or add --skip-bad to train without those marked FATAL."
        )
    rows = without_leaks({i: row for i, row in split.items() if i in usable}, prepared.fingerprints)
    subsets = {}
    for name in ("train", "val"):
        subsets[name] = prepared.images.select({i: row for i, row in rows.items() if row.subset == name})
        if not len(subsets[name]):
            raise DatasetError(
                f"{split_file or path}: no usable sample is in the subset {name!r}, expected at least one"
            )
    return TrainingData(**subsets, split=rows, digest=prepared.digest, warnings=report)


def without_leaks(split: Mapping[str, SplitRow], fingerprints: Mapping[str, Fingerprint]) -> dict[str, SplitRow]:
    """Leave out of train what shows the same picture or field as an image of val or test, and out of val likewise."""
    kept, seen = {}, set()
    for subset in ("test", "val", "train"):
        marks = {}
        for sample_id, row in split.items():
            if row.subset == subset:
                marks[sample_id] = {("picture", fingerprints[sample_id].digest)}
                if row.group is not None:
                    marks[sample_id].add(("group", row.group))
        kept |= {sample_id: split[sample_id] for sample_id, own in marks.items() if not own & seen}
        seen = seen.union(*marks.values())
    return kept

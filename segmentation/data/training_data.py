"""Load the images to train on and to validate on: find them, decode and check them, split them, leave out leaks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segmentation.data.cache import MEMORY_LIMIT, CachedDataSet, CachedImages, Progress, prepare
from segmentation.data.checks import check_across
from segmentation.data.fingerprints import Fingerprint
from segmentation.data.groups import find_groups
from segmentation.data.layouts import DataSet, find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.data.problems import NO_NUCLEI, NOT_IN_SPLIT, DatasetError, describe_problems
from segmentation.data.splits import FRACTIONS, SplitRow, draw_split, read_split


@dataclass(frozen=True)
class TrainingData:
    """The images of a training.

    Attributes
    ----------
    split : dict of str to SplitRow
        Where each usable sample belongs, the test images included.
    digest : str
        SHA-256 over the decoded and normalised data.
    warnings : str
        Problems that do not stop training, as text; empty if there are none.
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
    progress: Progress | None = None,
) -> TrainingData:
    """Find, decode, check and split a data set.

    Parameters
    ----------
    path : Path
        A folder or zip in one of the layouts of `segmentation.data.layouts`.
    split_file : Path, optional
        A split for `read_split`. Without it: the folders train, val and test where the data set has them; one is drawn
        by `seed`, stratified by kind, with tiles of one field kept together, where it has none; of images in train and
        test alone, those of train are divided into train and val.
    skip_bad : bool
        Leave out the samples with fatal problems instead of refusing the data set.
    cache_folder, memory_limit, progress
        See `prepare`.

    Raises
    ------
    DatasetError
        If the data or the split cannot be used; if samples have fatal problems, the message lists all problems.
    """
    split = read_split(split_file) if split_file else None
    data_set = find_data_set(path)
    cached = prepare(data_set, Normalisation(), cache_folder, memory_limit, progress)
    if split is None:
        split = _split_by_folder(data_set, cached, seed) or _draw_split(cached, set(cached.images.ids), seed)

    across = check_across(data_set.samples, cached.fingerprints, split)
    # A drawn split leaves out only unusable samples, whose problems are listed anyway.
    across = [problem for problem in across if split_file or problem.what != NOT_IN_SPLIT]
    problems = data_set.problems + cached.problems + across
    if sum(problem.what == NO_NUCLEI for problem in problems) >= len(cached.images) > 0:
        raise DatasetError(
            f"{path} has no nuclei in any of its {len(cached.images):,} images, where masks with some were expected"
        )
    report = describe_problems(problems, path) if problems else ""
    if any(problem.fatal for problem in problems) and not skip_bad:
        raise DatasetError(
            f"{path} cannot be trained on as it is.\n{report}\n"
            "Correct these samples, or add --skip-bad to train without those marked FATAL."
        )

    usable = set(cached.images.ids)
    rows = without_leaks({i: row for i, row in split.items() if i in usable}, cached.fingerprints)
    subsets = {}
    for name in ("train", "val"):
        subsets[name] = cached.images.select({i: row for i, row in rows.items() if row.subset == name})
        if not len(subsets[name]):
            source = split_file or path
            raise DatasetError(f"{source}: no usable sample is in the subset {name!r}, expected at least one")
    return TrainingData(subsets["train"], subsets["val"], rows, cached.digest, report)


def _split_by_folder(data_set: DataSet, cached: CachedDataSet, seed: int) -> dict[str, SplitRow]:
    """Return the split that the folders of a data set give; empty if they give none."""
    subsets = {sample.id: sample.subset for sample in data_set.samples if sample.subset}
    kinds = dict(zip(cached.images.ids, cached.images.kinds, strict=True))
    given = {i: SplitRow(subset, kinds[i]) for i, subset in subsets.items() if i in kinds}
    if given and "val" not in subsets.values():
        train = {i for i, row in given.items() if row.subset == "train"}
        given |= _draw_split(cached, train, seed, (0.88, 0.12, 0.0))
    return given


def _draw_split(
    cached: CachedDataSet, ids: set[str], seed: int, fractions: tuple[float, float, float] = FRACTIONS
) -> dict[str, SplitRow]:
    kinds = {i: kind for i, kind in zip(cached.images.ids, cached.images.kinds, strict=True) if i in ids}
    return draw_split(kinds, find_groups({i: cached.fingerprints[i] for i in kinds}), seed, fractions)


def without_leaks(split: Mapping[str, SplitRow], fingerprints: Mapping[str, Fingerprint]) -> dict[str, SplitRow]:
    """Leave out of train the images that show a picture or field of val or test, and out of val those of test."""
    kept: dict[str, SplitRow] = {}
    seen: set[tuple[str, str]] = set()
    for subset in ("test", "val", "train"):
        shown = {}
        for sample_id, row in split.items():
            if row.subset == subset:
                shown[sample_id] = {("picture", fingerprints[sample_id].digest)}
                if row.group is not None:
                    shown[sample_id].add(("group", row.group))
        kept |= {sample_id: split[sample_id] for sample_id, own in shown.items() if not own & seen}
        seen = seen.union(*shown.values())
    return kept

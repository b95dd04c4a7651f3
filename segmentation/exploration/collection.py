"""Open the images that are to be looked at: decoded, checked, each with its subset, kind and group."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from segmentation.data.cache import CachedImages, prepare
from segmentation.data.fingerprints import Fingerprint
from segmentation.data.groups import find_groups
from segmentation.data.layouts import DataSet, find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.samples import Sample
from segmentation.data.splits import SUBSETS, SplitRow, draw_split, read_split

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "data" / "cache"
# Splits that are taken by themselves where they name the images.
KNOWN_SPLITS = (ROOT / "data" / "dsb2018_split.csv",)
NO_SUBSET = "no subset"


@dataclass(frozen=True)
class Collection:
    """The usable images of a data set and all that is known of them before anything is measured.

    Attributes
    ----------
    path : Path
        The folder or zip.
    samples : list of Sample
        In the order of `images`.
    images : CachedImages
        Normalised, with their label maps, kinds and groups.
    subsets : list of str
        "train", "val" or "test" for each image; `NO_SUBSET` where the split does not name it.
    split_origin : str
        Where the split comes from, to be said in a sentence.
    fingerprints : dict of str to Fingerprint
        Of the usable images, by id.
    problems : list of Problem
        What is wrong with the data set and its samples, those that could not be used included.
    """

    path: Path
    samples: list[Sample]
    images: CachedImages
    subsets: list[str]
    split_origin: str
    fingerprints: dict[str, Fingerprint]
    problems: list[Problem]

    def indices(self, subset: str) -> list[int]:
        """The images of a subset; all of them if it is empty, so that there is something to look at."""
        chosen = [index for index, own in enumerate(self.subsets) if own == subset]
        return chosen or list(range(len(self.subsets)))


def open_collection(
    path: Path | str,
    split_file: Path | str | None = None,
    *,
    cache_folder: Path = CACHE,
    progress: Callable[[int, int], None] | None = None,
) -> Collection:
    """Decode a data set, or find it in the cache of the training, and divide it.

    Parameters
    ----------
    path : Path or str
        A folder or zip in one of the layouts of `segmentation.data.layouts`; or a folder that holds such data sets in
        folders named train, val and test, which are then the subsets, and the ids begin with their names.
    split_file : Path or str, optional
        A split as `segmentation.data.splits.read_split` takes it. Without it: the subsets by folder; or one of
        `KNOWN_SPLITS` if it names more than half of the images; or one is drawn by the seed 0.
    cache_folder : Path
        Where decoded images are kept.
    progress : callable, optional
        Called with the number of samples decoded and the number of all.

    Returns
    -------
    Collection

    Raises
    ------
    DatasetError
        If there is no data set, no usable sample in it, or the split cannot be read.
    """
    path = Path(path)
    data_set = _by_subset(path) or find_data_set(path)
    prepared = prepare(data_set, Normalisation(), cache_folder, progress=progress)
    ids = prepared.images.ids
    fingerprints = {sample_id: prepared.fingerprints[sample_id] for sample_id in ids}
    kinds = dict(zip(ids, prepared.images.kinds, strict=True))
    split, origin = _choose_split(data_set, split_file, kinds, fingerprints)
    groups = find_groups(fingerprints)
    rows = {}
    for sample_id in ids:
        row = split.get(sample_id, SplitRow(NO_SUBSET))
        # A group that was found must not be taken for one of the split's that has the same number.
        rows[sample_id] = replace(row, group=row.group or f"found {groups[sample_id]}")
    images = prepared.images.select(rows)
    samples = {sample.id: sample for sample in data_set.samples}
    return Collection(
        path=path,
        samples=[replace(samples[i], kind=kind) for i, kind in zip(ids, images.kinds, strict=True)],
        images=images,
        subsets=[rows[sample_id].subset for sample_id in ids],
        split_origin=origin,
        fingerprints=fingerprints,
        problems=data_set.problems + prepared.problems,
    )


def _by_subset(path: Path) -> DataSet | None:
    """Put the data sets in folders named train, val and test together; None if there are none."""
    found = {name: find_data_set(path / name) for name in SUBSETS if (path / name).is_dir()}
    if not found:
        return None
    samples = [
        replace(sample, id=f"{name}/{sample.id}") for name, data_set in found.items() for sample in data_set.samples
    ]
    problems = [problem for data_set in found.values() for problem in data_set.problems]
    layout = next(iter(found.values())).layout
    files = [file for data_set in found.values() for file in data_set.files]
    return DataSet(path, layout, sorted(samples, key=lambda sample: sample.id), problems, files)


def _choose_split(
    data_set: DataSet, split_file: Path | str | None, kinds: dict[str, str], fingerprints: dict[str, Fingerprint]
) -> tuple[dict[str, SplitRow], str]:
    if split_file:
        split = read_split(split_file)
        if not split.keys() & kinds.keys():
            raise DatasetError(f"{split_file}: names none of the {len(kinds)} images in {data_set.path}.")
        return split, Path(split_file).name
    folders = {sample_id: sample_id.partition("/")[0] for sample_id in kinds if "/" in sample_id}
    if folders:
        return {sample_id: SplitRow(name) for sample_id, name in folders.items()}, "the folders of the data set"
    for file in KNOWN_SPLITS:
        split = read_split(file)
        if 2 * len(split.keys() & kinds.keys()) > len(kinds):
            return split, file.name
    try:
        return draw_split(kinds, find_groups(fingerprints), seed=0), "a draw that keeps tiles of one field together"
    except DatasetError:
        # One single field: it can be looked at, though not divided.
        return {}, "none, for there is only one field"

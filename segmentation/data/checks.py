"""Compare the samples of a data set with one another and with a split.

A problem is fatal if training would learn, or scoring count, something false: the same picture or tiles of one field in
two subsets, a subset of the split without a single sample.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.data import problems
from segmentation.data.decoding import LoadedSample
from segmentation.data.fingerprints import Fingerprint
from segmentation.data.fit import find_exchanged, thumbnails
from segmentation.data.problems import Problem
from segmentation.data.samples import Sample
from segmentation.data.splits import SUBSETS, SplitRow

# Of the 664 images of the 2018 Data Science Bowl, one has nuclei of more than four times the usual diameter.
_FAR_FROM_USUAL, _FEWEST_TO_COMPARE = 4, 5


def check_across(
    samples: Sequence[Sample],
    fingerprints: Mapping[str, Fingerprint | None],
    split: Mapping[str, SplitRow] | None = None,
) -> list[Problem]:
    """Report what is wrong between samples; `load_samples` reports what is wrong with each by itself.

    Fingerprints and split are by sample id; a fingerprint is None where the image is unreadable.
    """
    split = split or {}
    files = {sample.id: str(sample.image or sample.id) for sample in samples}
    return _same_pictures(files, fingerprints, split) + (_against_split(files, split) if split else [])


@dataclass(frozen=True, eq=False)
class Measured:
    """What `compare_masks` compares of an image with nuclei."""

    file: str
    sample_id: str
    kind: str
    shape: tuple[int, int]
    diameter: float  # the median of its nuclei, in pixels
    pair: np.ndarray  # of `segmentation.data.fit.thumbnails`


def measure(loaded: LoadedSample) -> Measured:
    """Measure a usable sample with nuclei."""
    sample, image, labels, marks = loaded.sample, loaded.image, loaded.labels, loaded.fingerprint
    if image is None or labels is None or marks is None:
        raise ValueError(f"{sample.id} is not usable")
    diameter = float(np.median(np.sqrt(np.bincount(labels.ravel())[1:] * 4 / np.pi)))
    pair = thumbnails(image.pixels, labels, marks.kind)
    return Measured(str(sample.image), sample.id, marks.kind, labels.shape, diameter, pair)


def compare_masks(measured: Sequence[Measured]) -> list[Problem]:
    """Report masks that fit another image better than their own, and images whose nuclei are far from others' size."""
    found = []
    if measured:
        for index, other in find_exchanged(np.array([one.pair for one in measured]), [one.shape for one in measured]):
            one = measured[index]
            found.append(Problem(one.file, one.sample_id, problems.OF_ANOTHER, False, measured[other].file))
    for kind in {one.kind for one in measured}:
        same = [one for one in measured if one.kind == kind]
        usual = float(np.median([one.diameter for one in same]))
        for one in same if len(same) >= _FEWEST_TO_COMPARE else ():
            if not usual / _FAR_FROM_USUAL <= one.diameter <= usual * _FAR_FROM_USUAL:
                detail = f"median diameter {one.diameter:.0f} pixels, in others {usual:.0f}"
                found.append(Problem(one.file, one.sample_id, problems.OTHER_SIZE, False, detail))
    return found


def _same_pictures(
    files: Mapping[str, str], fingerprints: Mapping[str, Fingerprint | None], split: Mapping[str, SplitRow]
) -> list[Problem]:
    by_digest = defaultdict(list)
    for sample_id in files:
        marks = fingerprints.get(sample_id)
        if marks is not None:
            by_digest[marks.digest].append(sample_id)
    found = []
    for first, *others in by_digest.values():
        for other in others:
            sides = [split[sample_id].subset for sample_id in (first, other) if sample_id in split]
            divided = len(set(sides)) > 1
            detail = f"as {files[first]}" + (f"; {sides[1]} and {sides[0]}" if divided else "")
            what = problems.PICTURE_ON_BOTH_SIDES if divided else problems.SAME_PICTURE
            found.append(Problem(files[other], other, what, divided, detail))
    return found


def _against_split(files: Mapping[str, str], split: Mapping[str, SplitRow]) -> list[Problem]:
    found = []
    # group -> subset -> ids
    members: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for sample_id, file in files.items():
        row = split.get(sample_id)
        if row is None:
            found.append(Problem(file, sample_id, problems.NOT_IN_SPLIT, False))
        elif row.group is not None:
            members[row.group][row.subset].append(sample_id)
    for group, subsets in members.items():
        if len(subsets) > 1:
            first = next(iter(subsets.values()))[0]
            counts = ", ".join(f"{len(ids)} in {subset}" for subset, ids in subsets.items())
            found.append(Problem(files[first], first, problems.GROUP_ON_BOTH_SIDES, True, f"group {group}: {counts}"))
    for sample_id, row in split.items():
        if sample_id not in files:
            found.append(Problem(sample_id, sample_id, problems.NOT_IN_DATA, False, row.subset))
    present = {split[sample_id].subset for sample_id in files if sample_id in split}
    for subset in SUBSETS:
        count = sum(row.subset == subset for row in split.values())
        if subset not in present and (count or subset != "test"):
            detail = f"the split names {count}, none of them is in the data"
            # Training does without a test subset.
            found.append(Problem(subset, "", problems.EMPTY_SUBSET, subset != "test", detail))
    return found

"""Which images are learned from (train), chosen by (val) and scored at the end (test)."""

import csv
import io
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from segmentation.atomic import written_whole
from segmentation.data.problems import DatasetError
from segmentation.data.samples import Sample

SUBSETS = ("train", "val", "test")
FRACTIONS = (0.75, 0.10, 0.15)


@dataclass(frozen=True)
class SplitRow:
    """Where one image belongs.

    Attributes
    ----------
    subset : str
        "train", "val" or "test".
    kind : str or None
        Kind of image, see `kind_of`; None if unknown.
    group : str or None
        Images that show one field share a group; None if unknown.
    """

    subset: str
    kind: str | None = None
    group: str | None = None


def read_split(file: Path | str) -> dict[str, SplitRow]:
    """Read a split from a CSV with the columns id and subset and, if known, kind and group.

    Parameters
    ----------
    file : Path or str

    Returns
    -------
    dict of str to SplitRow
        By id, in the order of the rows.

    Raises
    ------
    DatasetError
        If the file cannot be read, lacks a column, is empty, names an id twice, or has another subset than train, val
        or test; with the line.
    """
    try:
        text = Path(file).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read as a split: {error}.") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    split: dict[str, SplitRow] = {}
    lines: dict[str, int] = {}
    try:
        missing = {"id", "subset"} - set(rows.fieldnames or ())
        if missing:
            got = ", ".join(rows.fieldnames or ()) or "nothing"
            raise DatasetError(
                f"{file}, line 1: the column {' and the column '.join(sorted(missing))} is missing; expected "
                f"id,subset and, if known, kind,group, got {got[:80]}."
            )
        for row in rows:
            sample_id, subset = (row["id"] or "").strip(), (row["subset"] or "").strip()
            if not sample_id:
                raise DatasetError(f"{file}, line {rows.line_num}: the id is empty.")
            if subset not in SUBSETS:
                raise DatasetError(
                    f"{file}, line {rows.line_num}: the subset is {subset!r}, expected one of {', '.join(SUBSETS)}."
                )
            if sample_id in split:
                raise DatasetError(
                    f"{file}, line {rows.line_num}: the id {sample_id} is named twice, "
                    f"first in line {lines[sample_id]}."
                )
            split[sample_id] = SplitRow(subset, row.get("kind") or None, row.get("group") or None)
            lines[sample_id] = rows.line_num
    except csv.Error as error:
        raise DatasetError(f"{file}, line {rows.line_num}: cannot be read as CSV: {error}.") from error
    if not split:
        raise DatasetError(f"{file}: the split names no image.")
    return split


def write_split(split: Mapping[str, SplitRow], file: Path | str) -> None:
    """Write a split, sorted by id, as `read_split` takes it; the file appears whole or not at all."""
    with written_whole(file) as part, open(part, "w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("id", "subset", "kind", "group"))
        for sample_id, row in sorted(split.items()):
            writer.writerow((sample_id, row.subset, row.kind or "", row.group or ""))


def divide(samples: Iterable[Sample], split: Mapping[str, SplitRow]) -> dict[str, list[Sample]]:
    """Sort samples into their subsets, each with the kind and group that the split names.

    Returns
    -------
    dict of str to list of Sample
        "train", "val", "test"; samples that the split does not name are left out.
    """
    subsets: dict[str, list[Sample]] = {subset: [] for subset in SUBSETS}
    for sample in samples:
        row = split.get(sample.id)
        if row is not None:
            subsets[row.subset].append(replace(sample, kind=row.kind, group=row.group))
    return subsets


def draw_split(
    kinds: Mapping[str, str],
    groups: Mapping[str, str],
    seed: int,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> dict[str, SplitRow]:
    """Draw a split by seed: stratified by kind, no group divided.

    Within each kind the groups are shuffled, the large ones first, and each goes to the subset that lacks most images
    to its share. The first three groups of a kind go to the three subsets, so that a kind with three groups or more is
    in each; of two groups one goes to train and one to val, and a single one to train. If no kind has two groups, val
    takes the smallest group of train; a data set that is one single group cannot be split.

    Parameters
    ----------
    kinds : mapping of str to str
        Kind of each image, by id. A group of several kinds counts as its first image's, by id.
    groups : mapping of str to str
        Group of each image, by id, see `find_groups`.
    seed : int
        The same seed and images give the same split, in whatever order they come.
    fractions : tuple of float
        Shares of the images for train, val and test; they sum to 1. A share of 0 leaves that subset empty.

    Returns
    -------
    dict of str to SplitRow
        By id, sorted.

    Raises
    ------
    DatasetError
        If there are not two groups to divide.
    ValueError
        If the fractions are not three shares that sum to 1, with some for train and val.
    """
    if len(fractions) != 3 or min(fractions) < 0 or min(fractions[:2]) == 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions: expected shares of train, val and test that sum to 1, got {fractions}.")
    members = defaultdict(list)
    for sample_id in sorted(kinds):
        members[groups[sample_id]].append(sample_id)
    if len(members) < 2:
        raise DatasetError(
            f"{len(kinds)} images that show {len(members)} field{'s' * (len(members) != 1)} cannot be split into "
            f"train and val; give images of at least two fields, or a split."
        )
    # Named by their first image: the names of groups may change with the order of the input.
    by_kind = defaultdict(list)
    for ids in members.values():
        by_kind[kinds[ids[0]]].append(ids)
    subset_of: dict[str, str] = {}
    for kind in sorted(by_kind):
        for ids, subset in _allot(sorted(by_kind[kind]), random.Random(f"{seed} {kind}"), fractions):
            subset_of.update(dict.fromkeys(ids, subset))
    if "val" not in subset_of.values():
        in_train = [ids for ids in members.values() if subset_of[ids[0]] == "train"]
        subset_of.update(dict.fromkeys(min(in_train, key=lambda ids: (len(ids), ids)), "val"))
    return {i: SplitRow(subset_of[i], kinds[i], groups[i]) for i in sorted(kinds)}


def _allot(
    groups: list[list[str]], rng: random.Random, fractions: tuple[float, float, float]
) -> list[tuple[list[str], str]]:
    """Give each group of one kind to a subset."""
    rng.shuffle(groups)
    groups.sort(key=len, reverse=True)  # stable: chance decides among equals
    wanted = {subset: share * sum(map(len, groups)) for subset, share in zip(SUBSETS, fractions, strict=True)}
    must = [subset for subset in SUBSETS if wanted[subset] > 0][: len(groups)]
    allotted = []
    for left, ids in zip(range(len(groups), 0, -1), groups, strict=True):
        # The last groups are kept for subsets that are still empty.
        choice = must if left <= len(must) else [subset for subset in SUBSETS if wanted[subset] > 0] or ["train"]
        subset = max(choice, key=lambda name: wanted[name])
        wanted[subset] -= len(ids)
        if subset in must:
            must.remove(subset)
        allotted.append((ids, subset))
    return allotted

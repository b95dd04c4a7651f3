"""Which images are learned from (train), which choose the settings (val), and which are scored at the end (test)."""

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segmentation.atomic import written_whole
from segmentation.data.problems import DatasetError
from segmentation.data.tables import read_table

SUBSETS = ("train", "val", "test")
FRACTIONS = (0.75, 0.10, 0.15)
COLUMNS = ("id", "subset", "kind", "group")


@dataclass(frozen=True)
class SplitRow:
    """Where one image belongs, its kind (see `kind_of`) and its group (images that show one field), None if unknown."""

    subset: str
    kind: str | None = None
    group: str | None = None


def read_split(file: Path | str) -> dict[str, SplitRow]:
    """Read a split, by id, from a CSV with the columns id and subset and, if known, kind and group.

    Raises
    ------
    DatasetError
        If the file cannot be read, lacks a column, is empty, names an id twice, or has another subset than train, val
        or test; with the line.
    """
    split: dict[str, SplitRow] = {}
    lines: dict[str, int] = {}
    for line, row in read_table(Path(file), COLUMNS[:2], "a split").items():
        sample_id, subset = (row["id"] or "").strip(), (row["subset"] or "").strip()
        if not sample_id:
            raise DatasetError(f"{file}, line {line}: the id is empty.")
        if subset not in SUBSETS:
            raise DatasetError(f"{file}, line {line}: the subset is {subset!r}, expected one of {', '.join(SUBSETS)}.")
        if sample_id in split:
            raise DatasetError(
                f"{file}, line {line}: the id {sample_id} is named twice, first in line {lines[sample_id]}."
            )
        lines[sample_id] = line
        split[sample_id] = SplitRow(subset, row.get("kind") or None, row.get("group") or None)
    if not split:
        raise DatasetError(f"{file}: the split names no image.")
    return split


def write_split(split: Mapping[str, SplitRow], file: Path | str) -> None:
    """Write a split, sorted by id, as `read_split` reads it; the file appears whole or not at all."""
    import pandas as pd

    rows = [(sample_id, row.subset, row.kind, row.group) for sample_id, row in sorted(split.items())]
    with written_whole(file) as part:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(part, index=False, lineterminator="\n")


def draw_split(
    kinds: Mapping[str, str],
    groups: Mapping[str, str],
    seed: int,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> dict[str, SplitRow]:
    """Draw a split, by id, from a seed: stratified by kind, no group divided.

    The groups of each kind are shuffled, then sorted by size, the largest first; each goes to the subset that lacks
    most images to its share. A kind with three groups or more is in each subset; of two groups one goes to train and
    one to val; a single one goes to train. If no kind has two groups, the smallest group of train moves to val.

    Parameters
    ----------
    kinds : mapping of str to str
        Kind of each image, by id. A group of several kinds counts as the kind of its first image, by id.
    groups : mapping of str to str
        Group of each image, by id, see `find_groups`.
    seed : int
        The same seed and images give the same split, in any order.
    fractions : tuple of float
        Shares of the images for train, val and test; they sum to 1. A share of 0 leaves that subset empty.

    Raises
    ------
    DatasetError
        If there are fewer than two groups.
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
            "The images show one field alone, which cannot be split into train and val; give images of at least two "
            "fields, or a split."
        )
    # Sorted below by their first image, because the names of groups may change with the order of the input.
    by_kind = defaultdict(list)
    for ids in members.values():
        by_kind[kinds[ids[0]]].append(ids)
    subset_of: dict[str, str] = {}
    for kind in sorted(by_kind):
        for group, subset in _assign(sorted(by_kind[kind]), random.Random(f"{seed} {kind}"), fractions):
            subset_of.update(dict.fromkeys(group, subset))
    if "val" not in subset_of.values():
        in_train = [ids for ids in members.values() if subset_of[ids[0]] == "train"]
        smallest = min(in_train, key=lambda ids: (len(ids), ids))
        subset_of.update(dict.fromkeys(smallest, "val"))
    return {i: SplitRow(subset_of[i], kinds[i], groups[i]) for i in sorted(kinds)}


def _assign(
    groups: list[list[str]], rng: random.Random, fractions: tuple[float, float, float]
) -> list[tuple[list[str], str]]:
    """Assign each group of one kind to a subset."""
    rng.shuffle(groups)
    groups.sort(key=len, reverse=True)  # stable: groups of equal size stay shuffled
    total = sum(len(ids) for ids in groups)
    lacking = {subset: share * total for subset, share in zip(SUBSETS, fractions, strict=True) if share > 0}
    empty = list(lacking)[: len(groups)]
    assigned = []
    for left, ids in zip(range(len(groups), 0, -1), groups, strict=True):
        # The last groups are kept for subsets that are still empty.
        subset = max(empty if left <= len(empty) else lacking, key=lambda name: lacking[name])
        lacking[subset] -= len(ids)
        if subset in empty:
            empty.remove(subset)
        assigned.append((ids, subset))
    return assigned

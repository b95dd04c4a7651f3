"""Find samples on disk, check them, split them.

    python -m segmentation.data.dataset FOLDER [--split CSV]

prints what a data set holds and everything that is wrong with it. Exit status: 0 no problems or warnings only, 1 fatal
problems (training would learn or score something false), 2 no data set or split to check.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from segmentation.data.checks import check_across, check_samples
from segmentation.data.decoding import LoadedSample, load_samples
from segmentation.data.groups import find_groups
from segmentation.data.layouts import DataSet, find_data_set, find_samples
from segmentation.data.modality import KINDS, kind_of
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.samples import Sample
from segmentation.data.splits import SUBSETS, SplitRow, divide, draw_split, read_split, write_split

__all__ = [
    "KINDS",
    "SUBSETS",
    "DataSet",
    "DatasetError",
    "LoadedSample",
    "Problem",
    "Sample",
    "SplitRow",
    "check_across",
    "check_samples",
    "divide",
    "draw_split",
    "find_data_set",
    "find_groups",
    "find_samples",
    "kind_of",
    "load_samples",
    "read_split",
    "write_split",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m segmentation.data.dataset",
        description="Check a data set: print what it holds and everything that is wrong with it.",
        epilog="Exit status: 0 no problems or warnings only, 1 fatal problems, 2 no data set or split to check.",
    )
    parser.add_argument("folder", type=Path, help="a folder or zip of images and masks")
    parser.add_argument("--split", type=Path, help="CSV with the columns id and subset and, if known, kind and group")
    options = parser.parse_args(arguments)
    try:
        split = read_split(options.split) if options.split else {}
        data_set = find_data_set(options.folder)
    except DatasetError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2

    found = list(data_set.problems)
    fingerprints, nuclei = {}, {}
    for loaded in tqdm(load_samples(data_set.samples), total=len(data_set.samples), unit="image", disable=None):
        found += loaded.problems
        fingerprints[loaded.sample.id] = loaded.fingerprint
        nuclei[loaded.sample.id] = 0 if loaded.labels is None else int(loaded.labels.max())
    found += check_across(data_set.samples, fingerprints, split)

    kinds = {i: marks.kind if marks else "unreadable" for i, marks in fingerprints.items()}
    kinds.update({i: row.kind for i, row in split.items() if i in kinds and row.kind})
    print(describe(data_set, kinds, nuclei, split))  # noqa: T201
    print(describe_problems(found, data_set.path))  # noqa: T201
    return 1 if any(problem.fatal for problem in found) else 0


def describe(data_set: DataSet, kinds: dict[str, str], nuclei: dict[str, int], split: dict[str, SplitRow]) -> str:
    """Say what a data set holds.

    Parameters
    ----------
    data_set : DataSet
    kinds : dict of str to str
        Kind of each image, by sample id.
    nuclei : dict of str to int
        Number of nuclei of each sample.
    split : dict of str to SplitRow
        Empty if there is none.

    Returns
    -------
    str
        The layout, the numbers, and a table of kinds and subsets.
    """
    lines = [
        str(data_set.path),
        f"layout: {data_set.layout}",
        f"{len(data_set.samples):,} samples, {sum(nuclei.values()):,} nuclei",
    ]
    counts, of_nuclei = defaultdict(Counter), Counter()
    for sample in data_set.samples:
        subset = split[sample.id].subset if sample.id in split else "no subset"
        counts[kinds[sample.id]][subset] += 1
        of_nuclei[kinds[sample.id]] += nuclei[sample.id]
    subsets = [*SUBSETS, "no subset"] if split else []
    lines += ["", "".join(f"{name:>14s}" for name in ("kind", "images", "nuclei", *subsets))]
    for kind in sorted(counts):
        row = (counts[kind].total(), of_nuclei[kind], *(counts[kind][subset] for subset in subsets))
        lines.append(f"{kind:>14s}" + "".join(f"{number:14,d}" for number in row))
    return "\n".join(lines)


def describe_problems(found: Sequence[Problem], path: Path) -> str:
    """List all problems, the fatal ones first, by what they are; files are named relative to `path`."""
    groups = defaultdict(list)
    for problem in found:
        groups[not problem.fatal, problem.what].append(problem)
    lines = []
    for (harmless, what), members in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1])):
        lines += ["", f"{'warning' if harmless else 'FATAL'}: {what} ({len(members):,})"]
        for problem in members:
            file = problem.file.removeprefix(str(path)).lstrip("/\\") or problem.file
            lines.append(f"  {file}" + (f": {problem.detail}" if problem.detail else ""))
    fatal = sum(problem.fatal for problem in found)
    lines += ["", f"{fatal:,} fatal problems, {len(found) - fatal:,} warnings" if found else "no problems"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

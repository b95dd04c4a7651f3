"""Check a data set: print what it holds and everything that is wrong with it.

examples:
  python -m segmentation.data.dataset my_images
  python -m segmentation.data.dataset my_images --split my_split.csv

Exit status: 0 no problems or warnings only, 1 fatal problems (training would learn or score something false), 2 no data
set or split to check.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from segmentation.command_line import Parser, refuse, write_line
from segmentation.data.checks import check_across, compare_masks, measure
from segmentation.data.decoding import load_samples
from segmentation.data.layouts import DataSet, find_data_set
from segmentation.data.problems import (
    NO_NUCLEI_AT_ALL,
    OF_ANOTHER,
    SHIFTED,
    TURNED,
    DatasetError,
    Problem,
    describe_problems,
)
from segmentation.data.splits import SUBSETS, read_split

COMMAND = "python -m segmentation.data.dataset"
NO_SUBSET = "no subset"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; return the exit status."""
    parser = Parser(__doc__)
    parser.prog = COMMAND
    parser.add_argument("folder", type=Path, help="a folder or zip of images and masks")
    parser.add_argument("--split", type=Path, help="CSV with the columns id and subset and, if known, kind and group")
    options = parser.parse_args(arguments)
    try:
        split = read_split(options.split) if options.split else {}
        data_set = find_data_set(options.folder)
    except DatasetError as error:
        return refuse(COMMAND, error)

    found = list(data_set.problems)
    fingerprints, rows, measured = {}, [], []
    for loaded in tqdm(load_samples(data_set.samples), total=len(data_set.samples), unit="image", disable=None):
        found += loaded.problems
        fingerprints[loaded.sample.id] = marks = loaded.fingerprint
        row = split.get(loaded.sample.id)
        kind = (row and row.kind) or (marks.kind if marks else "unreadable")
        nuclei = 0 if loaded.labels is None else int(loaded.labels.max())
        rows.append((kind, nuclei, row.subset if row else NO_SUBSET))
        if nuclei and loaded.is_usable:
            measured.append(measure(loaded))
    compared = compare_masks(measured)
    exchanged = {problem.sample_id for problem in compared if problem.what == OF_ANOTHER}
    # A mask of another image fits its own better somewhere else, too, by chance.
    found = [one for one in found if one.sample_id not in exchanged or one.what not in (TURNED, SHIFTED)]
    found += check_across(data_set.samples, fingerprints, split) + compared
    if not any(nuclei for _, nuclei, _ in rows):
        found.append(Problem(str(options.folder), "", NO_NUCLEI_AT_ALL, True))
    write_line(_describe(data_set, rows, bool(split)), sys.stdout)
    write_line(describe_problems(found, data_set.path), sys.stdout)
    return 1 if any(problem.fatal for problem in found) else 0


def _describe(data_set: DataSet, rows: Sequence[tuple[str, int, str]], has_split: bool) -> str:
    """Return layout, size and a table of kinds and subsets; `rows` are kind, nuclei and subset of each image."""
    import pandas as pd

    images = pd.DataFrame(rows, columns=["kind", "nuclei", "subset"])
    table = images.groupby("kind")["nuclei"].agg(["size", "sum"]).set_axis(["images", "nuclei"], axis=1)
    if has_split:
        counts = pd.crosstab(images["kind"], images["subset"])
        table = table.join(counts.reindex(columns=[*SUBSETS, NO_SUBSET], fill_value=0))
    lines = [
        str(data_set.path),
        f"layout: {data_set.layout}",
        f"{len(images):,} samples, {images['nuclei'].sum():,} nuclei",
        "",
        table.reset_index().to_string(
            index=False, col_space=12, formatters=dict.fromkeys(table.columns, "{:,}".format)
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

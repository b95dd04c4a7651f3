#!/usr/bin/env python3
"""How a network does on a kind of image that it has never seen, and what training on a few images of that kind adds.

    python benchmarks/adaptation.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/adaptation
    python benchmarks/adaptation.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/smear \\
        --kind smear --images 4

Three trainings: on all training images but those of one kind; from its weights for a few minutes on eight images of
that kind (``train.py --init``), each of another field; and on those eight from new weights, for the same few minutes.
All three are scored on the other training images of the kind, without those that share a field with one of the eight,
predicted as `predict_masks.py` does by default. The test images are not used. The same command resumes after an
interruption.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import replace

from options import HERE, adapting_parser

parser = adapting_parser(__doc__)
parser.add_argument("--minutes", type=float, default=20, metavar="N", help="of the first training (default: 20)")
parser.add_argument("--few-minutes", type=float, default=5, metavar="N", help="of the other two (default: 5)")
parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of images, and of the weights")
arguments = parser.parse_args()

import numpy as np
from trials import Comparison, predict_and_score, print_table, train

from segmentation.data.dsb2018 import locate
from segmentation.data.problems import DatasetError
from segmentation.data.splits import SplitRow, read_split, write_split
from segmentation.evaluation.folders import choose_subset, find_truth

FIGURES = {"dice": "Dice", "ap50": "AP50", "mean_ap": "mean AP 0.5-0.9", "bowl": "Bowl score"}
UNSEEN, TUNED, NEW = "without the kind", "fine-tuned on a few", "new weights on the few"


def divide(
    split: dict[str, SplitRow], kind: str, count: int, seed: int
) -> tuple[dict[str, SplitRow], dict[str, SplitRow]]:
    """Make two splits with the same test images: one to train on the other kinds, one on a few images of the kind."""
    by_field = defaultdict(list)
    for name, row in split.items():
        if row.kind == kind and row.subset == "train":
            by_field[row.group or name].append(name)
    if len(by_field) <= count:
        sys.exit(
            f"adaptation.py: --images is {count}, expected less than the number of fields that the training images of "
            f"the kind {kind!r} show, which is {len(by_field)}"
        )
    chosen = np.random.default_rng(seed).choice(sorted(by_field), count, replace=False)
    test = {
        name: replace(split[name], subset="test")
        for field, names in by_field.items()
        if field not in chosen
        for name in names
    }
    others = {name: row for name, row in split.items() if row.kind != kind and row.subset != "test"}
    few = {by_field[field][0]: split[by_field[field][0]] for field in chosen}
    few |= {name: row for name, row in split.items() if row.kind == kind and row.subset == "val"}
    return others | test, few | test


def main() -> None:
    others, few = (arguments.work / f"{name}.csv" for name in ("others", "few"))
    try:
        data = locate(arguments.data, HERE / "data")
        divided = divide(read_split(arguments.split), arguments.kind, arguments.images, arguments.seed)
        arguments.work.mkdir(parents=True, exist_ok=True)
        for file, rows in zip((others, few), divided, strict=True):
            write_split(rows, file)
        images, _ = choose_subset(find_truth(data), few, "test")
    except (DatasetError, ValueError, OSError) as error:
        sys.exit(f"adaptation.py: {error}")

    first = arguments.work / "others"
    trials = {}
    for name, folder, split, minutes, options in (
        (UNSEEN, first, others, arguments.minutes, []),
        (TUNED, arguments.work / "tuned", few, arguments.few_minutes, ["--init", first]),
        (NEW, arguments.work / "new", few, arguments.few_minutes, []),
    ):
        budget = argparse.Namespace(epochs=None, minutes=minutes, options=[])
        train(budget, data, split, [*options, "--seed", arguments.seed], folder)
        trials[name] = [predict_and_score(data, split, folder, images, subset="test", diameter="auto")]
    comparison = Comparison(images, sum(image.read().size for image in images) / 1e6, trials)

    print(
        f"{len(images)} images of the kind {arguments.kind}; {arguments.minutes:g} minutes without it, then "
        f"{arguments.few_minutes:g} with {arguments.images} images of it."
    )
    print_table(comparison.table(FIGURES))
    print_table(comparison.table(FIGURES, minus=NEW))


if __name__ == "__main__":
    main()

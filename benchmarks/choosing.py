#!/usr/bin/env python3
"""What a correction teaches: images that `segmentation.results.correct` chooses against images drawn at random.

    python benchmarks/choosing.py --data dsb2018 --split data/dsb2018_split.csv --model models/unstained \\
        --work /tmp/choosing

MODEL was trained without images of one kind, as by `train.py --split` with these in no subset but test. Half of the
fields of the kind, among the training images of SPLIT, are a pool; the other half are the test. The model is adapted
for a few minutes to eight images of the pool that the command chooses, and as often as there are draws to eight drawn
at random, one a field; all are scored on the test. The same command resumes after an interruption.
"""

import argparse
import csv
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from options import HERE, adapting_parser

parser = adapting_parser(__doc__)
parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="to adapt; it judges its results")
parser.add_argument("--draws", type=int, default=5, metavar="N", help="at random (default: 5)")
parser.add_argument("--minutes", type=float, default=5, metavar="N", help="of each training (default: 5)")
arguments = parser.parse_args()

import numpy as np
from trials import Comparison, call, predict_and_score, print_table, train

from segmentation.data.dsb2018 import locate
from segmentation.data.splits import SplitRow, read_split, write_split
from segmentation.evaluation.folders import choose_subset, find_truth
from segmentation.results.correct import prepare

FIGURES = {"dice": "Dice", "ap50": "AP50", "mean_ap": "mean AP 0.5-0.9"}
CHOSEN = "chosen"


def main() -> None:
    rng, data = np.random.default_rng(0), locate(arguments.data, HERE / "data")
    split = read_split(arguments.split)
    by_field = defaultdict(list)
    for name, row in split.items():
        if row.kind == arguments.kind and row.subset == "train":
            by_field[row.group or name].append(name)
    fields = rng.permutation(sorted(by_field))
    pool = {name for field in fields[::2] for name in by_field[field]}
    test = {name: replace(split[name], subset="test") for field in fields[1::2] for name in by_field[field]}
    val = {name: row for name, row in split.items() if row.kind == arguments.kind and row.subset == "val"}
    if not (pool and test):
        sys.exit(
            f"{arguments.split} has {len(fields)} fields of the kind {arguments.kind} in train; expected 2 or more"
        )
    arguments.work.mkdir(parents=True, exist_ok=True)

    choices = {CHOSEN: choose(data, {name: split[name] for name in pool})}
    for draw in range(arguments.draws):
        drawn = rng.choice(fields[::2], arguments.images, replace=False)
        choices[f"random {draw + 1}"] = [rng.choice(by_field[field]) for field in drawn]
    trials = {}
    for choice, names in choices.items():
        own = arguments.work / f"{choice.replace(' ', '_')}.csv"
        write_split({name: split[name] for name in names} | val | test, own)
        budget = argparse.Namespace(epochs=None, minutes=arguments.minutes, options=[])
        folder = own.with_suffix("")
        train(budget, data, own, ["--init", arguments.model, "--seed", 0], folder)
        images, _ = choose_subset(find_truth(data), own, "test")
        trials[choice] = [predict_and_score(data, own, folder, images, subset="test", diameter="auto")]
    comparison = Comparison(images, sum(image.read().size for image in images) / 1e6, trials)
    print(f"{len(images)} images; {len(pool)} to choose from; {arguments.minutes:g} minutes each")
    print_table(comparison.table(FIGURES))
    print_table(comparison.table(FIGURES, minus=CHOSEN))


def choose(data: Path, pool: dict[str, SplitRow]) -> list[str]:
    """Return the names of the images of the pool that the command chooses."""
    listed, results, chosen = (arguments.work / name for name in ("pool.csv", "pool", "to_correct"))
    write_split({name: replace(row, subset="test") for name, row in pool.items()}, listed)
    images = arguments.work / "images"
    if not (chosen / "chosen.csv").exists():
        shutil.rmtree(chosen, ignore_errors=True)
        images.mkdir(exist_ok=True)
        for sample in find_images(data, pool):
            (images / f"{sample.id}.png").write_bytes(sample.image.read_bytes())
        call(
            "predict_masks.py", images, "--model", arguments.model, "--outputs", "labels", "images", "--output", results
        )
        prepare(results, chosen, arguments.images)
    with (chosen / "chosen.csv").open(newline="") as stream:
        return [row["image"] for row in csv.DictReader(stream)]


def find_images(data: Path, pool: dict[str, SplitRow]) -> list:
    from segmentation.data.layouts import find_samples

    return [sample for sample in find_samples(data) if sample.id in pool]


if __name__ == "__main__":
    sys.exit(main())

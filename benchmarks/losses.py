#!/usr/bin/env python3
"""Which loss of the foreground is best: one network trained with each, on the same small budget, compared in pairs.

    python benchmarks/losses.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/losses
    python benchmarks/losses.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/losses --epochs 12

Crops of 128 pixels, two seeds, six minutes a training: an hour in all. With --epochs the trainings are equally long
whatever else the machine does. Printed are the figures on the validation images, and how far each loss differs from the
default one on the same images, with 95 % intervals; differences whose interval leaves 0 out are bold. The threshold of
each model was chosen on the same images by train.py. The same command goes on after an interruption.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from trials import Comparison, cell, compare, epochs_of, new_parser, print_heading, print_table

from segmentation.training.config import FOREGROUND_LOSSES, TrainingConfig

NAMES = {
    "bce": "cross-entropy",
    "dice": "Dice",
    "bce_dice": "cross-entropy + Dice",
    "tversky": "Tversky",
    "focal_tversky": "focal Tversky",
}
FIGURES = {"dice": "Dice", "ap50": "AP50", "mean_ap": "mean AP 0.5-0.9"}
DEFAULT = TrainingConfig().loss


def cells(comparison: Comparison, loss: str, reference: str | None = None) -> list[str]:
    """The figures of one loss, or how they differ from those of another."""

    def measure(kind=None):
        if reference is None:
            return comparison.figures(loss, kind)
        return comparison.differences(loss, reference, kind)

    over_all, signed = measure(), reference is not None
    return [
        *(cell(over_all[name], signed) for name in FIGURES),
        *(cell(measure(kind)["dice"], signed) for kind in comparison.kinds),
    ]


def main() -> None:
    arguments = new_parser(__doc__, minutes=6, seeds=[0, 1]).parse_args()
    choices = {loss: ["--loss", loss, "--crop-size", "128"] for loss in FOREGROUND_LOSSES}
    comparison = compare(arguments, choices)
    print_heading(arguments, comparison)
    head = [*FIGURES.values(), *(f"Dice, {kind}" for kind in comparison.kinds)]
    print_table(
        ["loss", "epochs", *head],
        [[NAMES[loss], epochs_of(trials), *cells(comparison, loss)] for loss, trials in comparison.trials.items()],
    )
    print_table(
        [f"minus {NAMES[DEFAULT]}", *head],
        [[NAMES[loss], *cells(comparison, loss, DEFAULT)] for loss in choices if loss != DEFAULT],
    )


if __name__ == "__main__":
    main()

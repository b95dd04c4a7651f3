#!/usr/bin/env python3
"""Which loss of the foreground is best: one network trained with each, on the same small budget, compared in pairs.

    python benchmarks/losses.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/losses
    python benchmarks/losses.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/losses --epochs 12

Crops of 128 pixels, two seeds, six minutes a training: an hour in all. With --epochs the trainings are equally long
whatever else the machine does. Prints the figures on the validation images, and how far each loss differs from the
default one on the same images, with 95 % intervals; bold: the interval excludes 0. train.py chose the threshold of each
model on the same images. The same command resumes after an interruption.
"""

from options import comparison_parser

arguments = comparison_parser(__doc__, minutes=6, seeds=[0, 1]).parse_args()

from trials import compare, print_heading, print_table

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


def main() -> None:
    choices = {loss: ["--loss", loss, "--crop-size", "128"] for loss in FOREGROUND_LOSSES}
    comparison = compare(arguments, choices)
    print_heading(arguments, comparison)
    table = comparison.table(FIGURES, by_kind=True)
    table.insert(0, "epochs", comparison.epochs())
    print_table(table.rename(NAMES).rename_axis("loss"))
    difference = comparison.table(FIGURES, minus=DEFAULT, by_kind=True)
    print_table(difference.rename(NAMES).rename_axis(f"minus {NAMES[DEFAULT]}"))


if __name__ == "__main__":
    main()

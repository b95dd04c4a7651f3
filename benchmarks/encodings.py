#!/usr/bin/env python3
"""What a network should learn of a nucleus: one network trained on each target encoding, on the same budget.

    python benchmarks/encodings.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/encodings
    python benchmarks/encodings.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/encodings --epochs 40

Twenty minutes a training. With --epochs the trainings are equally long whatever else the machine does. Printed are the
figures on the validation images, how far each encoding differs from the default one on the same images, with 95 %
intervals (differences whose interval leaves 0 out are bold), and what decoding a megapixel took. The threshold of each
model was chosen on the same images by train.py. The same command goes on after an interruption.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from trials import cell, compare, epochs_of, new_parser, print_heading, print_table

from segmentation.training.config import TARGETS, TrainingConfig

FIGURES = {
    "dice": "Dice",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap90": "AP90",
    "mean_ap": "mean AP 0.5-0.9",
    "bowl": "Bowl score",
}
DEFAULT = TrainingConfig().targets


def main() -> None:
    arguments = new_parser(__doc__, minutes=20, seeds=[0]).parse_args()
    comparison = compare(arguments, {name: ["--targets", name] for name in TARGETS})
    print_heading(arguments, comparison)
    rows = []
    for name, trials in comparison.trials.items():
        figures = comparison.figures(name)
        milliseconds = 1000 * min(trial.decode_seconds for trial in trials) / comparison.megapixels
        rows.append([f"`{name}`", epochs_of(trials), *(cell(figures[key]) for key in FIGURES), f"{milliseconds:.0f}"])
    print_table(["targets", "epochs", *FIGURES.values(), "decoding, ms a megapixel"], rows)
    differences = {name: comparison.differences(name, DEFAULT) for name in TARGETS if name != DEFAULT}
    print_table(
        [f"minus `{DEFAULT}`", *FIGURES.values()],
        [[f"`{name}`", *(cell(of[key], signed=True) for key in FIGURES)] for name, of in differences.items()],
    )


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What a network should learn of a nucleus: one network trained on each target encoding, on the same budget.

    python benchmarks/encodings.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/encodings
    python benchmarks/encodings.py --data dsb2018 --split data/dsb2018_split.csv --work /tmp/encodings --epochs 40

Twenty minutes a training. With --epochs the trainings are equally long whatever else the machine does. Prints the
figures on the validation images, how far each encoding differs from the default one on the same images, with 95 %
intervals (bold: the interval excludes 0), and the time to decode a megapixel. `foreground` shows what connected
components reach, which do not separate touching nuclei. train.py chose the threshold of each model on the same images.
The same command resumes after an interruption.
"""

from options import comparison_parser

arguments = comparison_parser(__doc__, minutes=20, seeds=[0]).parse_args()

from trials import compare, print_heading, print_table

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
    comparison = compare(arguments, {name: ["--targets", name] for name in TARGETS})
    print_heading(arguments, comparison)
    table = comparison.table(FIGURES)
    table.insert(0, "epochs", comparison.epochs())
    table["decoding, ms a megapixel"] = [
        f"{1000 * min(trial.decode_seconds for trial in trials) / comparison.megapixels:.0f}"
        for trials in comparison.trials.values()
    ]
    print_table(table.rename_axis("targets"))
    print_table(comparison.table(FIGURES, minus=DEFAULT))


if __name__ == "__main__":
    main()

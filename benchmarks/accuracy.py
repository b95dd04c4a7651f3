#!/usr/bin/env python3
"""How accurate our network is beside StarDist: both trained on the same images for the same minutes, scored alike.

    python -m venv ~/stardist && ~/stardist/bin/python -m pip install stardist==0.9.2 tensorflow==2.21.0 scikit-image
    python benchmarks/accuracy.py --data data/dsb2018 --split data/dsb2018_split.csv --minutes 20 \\
        --stardist-python ~/stardist/bin/python --work /tmp/accuracy

The two train one after the other on this machine, with all of its cores; StarDist tunes its thresholds on the
validation images after its minutes are over, ours within them. Then each predicts the test images, and the scores are
those of `evaluate_masks.py`: figures with 95 % intervals over groups of images that show one field, and the difference
with its own. A model that is in --work already is not trained again.
"""

import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", type=Path, required=True, metavar="FOLDER|ZIP")
parser.add_argument("--split", type=Path, required=True, metavar="CSV")
parser.add_argument("--minutes", type=float, default=20, metavar="N", help="of training, each (default: 20)")
parser.add_argument("--stardist-python", type=Path, required=True, metavar="FILE")
parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for models and label maps")
arguments = parser.parse_args()

from peer import export_images, run_stardist
from trials import Comparison, Trial, call, print_table

from segmentation.evaluation.folders import choose_subset, find_predictions, find_truth, score_predictions

FIGURES = {"dice": "Dice", "ap50": "AP50", "mean_ap": "mean AP 0.5-0.9", "bowl": "Bowl score"}


def train_and_predict_ours() -> Path:
    """Return the folder of our label maps of the test images."""
    model, output = arguments.work / "ours", arguments.work / "ours_test"
    data = ["--data", arguments.data, "--split", arguments.split]
    if not (model / "bundle.json").exists():
        call("train.py", *data, "--time-limit", arguments.minutes, "--epochs", 10_000, "--output", model)
    options = ["--subset", "test", "--model", model, "--output", output, "--outputs", "labels"]
    call("predict_masks.py", arguments.data, *data[2:], *options)
    return output / "labels"


def train_and_predict_stardist() -> Path:
    """Return the folder of StarDist's label maps of the test images."""
    images, model, output = (arguments.work / name for name in ("images", "stardist", "stardist_test"))
    export_images(arguments.data, arguments.split, ["train", "val", "test"], images)
    python = arguments.stardist_python
    if not (model / "thresholds.json").exists():
        run_stardist(python, "train", "--images", images, "--minutes", arguments.minutes, "--output", model)
    run_stardist(python, "predict", "--images", images / "test", "--model", model, "--output", output)
    return output


def main() -> None:
    arguments.work.mkdir(parents=True, exist_ok=True)
    images, _ = choose_subset(find_truth(arguments.data), arguments.split, "test")
    folders = {"ours": train_and_predict_ours(), "StarDist": train_and_predict_stardist()}
    trials = {}
    for name, folder in folders.items():
        scores = [scored.score for scored in score_predictions(images, find_predictions(folder))]
        trials[name] = [Trial(0, scores, 0)]
    comparison = Comparison(images, 0, trials)
    print(f"{len(images)} test images, {arguments.minutes:g} minutes of training each")
    print_table(comparison.table(FIGURES))
    print_table(comparison.table(FIGURES, minus="StarDist"))


if __name__ == "__main__":
    main()

"""Score predicted masks against the truth.

examples:
  python evaluate_masks.py predictions data/sample/test
  python evaluate_masks.py predictions data/dsb2018 --split data/dsb2018_split.csv --output scores.json

Dice and IoU: of the foreground, averaged over the images. AP at t: TP / (TP + FP + FN) over all nuclei, matched at
IoU > t. Bowl score: that of the 2018 Data Science Bowl. Intervals draw the groups that the split names, or images.

exit status:
  0  every image of TRUTH had a prediction
  1  some predictions are missing, unreadable or of another size: named on standard error and scored as empty
  2  the command line, the predictions or the truth are unusable
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from segmentation.command_line import Parser, printable, refuse, write_line


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    predicted = "folder of label maps (0 is background) or masks named as the images, or what predict_masks.py wrote"
    truth = (
        "folder or zip in the layout of the Bowl, images/ beside masks/, images with a run-length CSV, or label maps"
    )
    add("predictions", type=Path, metavar="PREDICTIONS", help=predicted)
    add("truth", type=Path, metavar="TRUTH", help=truth)
    add("--split", type=Path, metavar="CSV", help="gives the subset and, if known, kind and group of each image")
    add("--subset", metavar="NAME", help="score this subset of the split: train, val or test (default: test)")
    add("--output", type=Path, metavar="FILE", help="write all figures, and the scores of each image, here as JSON")
    options = parser.parse_args(argv)
    if options.subset and not options.split:
        parser.error(f"--subset {options.subset} says nothing without --split")
    if options.output and (options.output.is_dir() or not options.output.absolute().parent.is_dir()):
        parser.error(f"--output {options.output}: expected a file, in a folder that exists")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    try:  # imported here: --help must not wait for them
        from tqdm import tqdm

        from segmentation.atomic import written_whole
        from segmentation.data.problems import DatasetError, Problem
        from segmentation.evaluation import folders, report
    except ModuleNotFoundError as error:
        return refuse("evaluate_masks.py", error)

    found: list[Problem] = []
    try:
        predictions, truth = folders.find_predictions(options.predictions), folders.find_truth(options.truth, found)
        subset = options.subset or "test"
        images, absent = folders.choose_subset(truth, options.split, subset) if options.split else (truth, [])
        scored = folders.score_predictions(images, predictions, found)
        evaluation = report.evaluate(list(tqdm(scored, "scoring", len(images), leave=False, disable=None)))
        write_line(report.as_text(evaluation), sys.stdout)
        if options.output:
            with written_whole(options.output) as file:
                file.write_text(json.dumps(report.as_json(evaluation), indent=1), encoding="utf-8")
    except (folders.EvaluationError, DatasetError, ImportError, OSError) as error:
        return refuse("evaluate_masks.py", error)

    problems = evaluation.images["problem"].dropna()
    extra = sorted(predictions.keys() - {image.id for image in truth})
    others = {"images of the subset that are not": absent, "predictions without an image": extra}
    named = {f"{what} in {options.truth}": names for what, names in others.items()}
    for remark in (*(f"counted as empty: {problem}" for problem in problems), *folders.remarks(found, named)):
        write_line(printable(remark), sys.stderr)
    return 1 if len(problems) else 0


if __name__ == "__main__":
    sys.exit(main())

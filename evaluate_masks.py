"""Score predicted masks against the truth.

    python evaluate_masks.py predictions data/sample/test
    python evaluate_masks.py predictions data/dsb2018 --split data/dsb2018_split.csv --output scores.json

Dice and IoU are those of the foreground, averaged over the images. AP at t is TP / (TP + FP + FN) over all nuclei,
matched at IoU > t. The Bowl score is that of the 2018 Data Science Bowl. Intervals draw groups of images: tiles of one
field, where the split names them, and otherwise each image by itself.
"""

import argparse
import sys
from pathlib import Path

EXIT_STATUS = """\
exit status:
  0  every image of TRUTH had a prediction
  1  some predictions are missing, unreadable or of another size: named on standard error and scored as empty
  2  the command line, the predictions or the truth are unusable
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXIT_STATUS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="folder of label maps (0 is background) or masks (0 and 255) named as the images, or what "
        "predict_masks.py wrote",
    )
    parser.add_argument(
        "truth",
        type=Path,
        metavar="TRUTH",
        help="folder or zip in the layout of the Bowl, images/ beside masks/, images with a run-length CSV, or a "
        "folder of label maps",
    )
    parser.add_argument(
        "--split", type=Path, metavar="CSV", help="names subset and, if known, kind and group of each image"
    )
    parser.add_argument(
        "--subset", metavar="NAME", help="score this subset of the split: train, val or test (default: test)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all figures, per image too, here as JSON")
    options = parser.parse_args(arguments)
    if options.subset and not options.split:
        parser.error(f"--subset {options.subset} says nothing without --split")
    if options.output and not options.output.absolute().parent.is_dir():
        parser.error(f"--output {options.output}: there is no folder {options.output.parent}")
    return options


def main(arguments=None):
    options = parse_arguments(arguments)

    # Imported here: --help must not wait for them.
    import json
    from dataclasses import asdict

    from tqdm import tqdm

    from segmentation.atomic import written_whole
    from segmentation.data.problems import DatasetError
    from segmentation.evaluation.folders import EvaluationError, find_predictions, find_truth, score_images
    from segmentation.evaluation.report import as_table, summarise
    from segmentation.evaluation.subsets import choose_subset

    try:
        predictions = find_predictions(options.predictions)
        truth = find_truth(options.truth)
        images, absent = truth, []
        if options.split:
            images, absent = choose_subset(truth, options.split, options.subset or "test")
        if not any(image.id in predictions for image in images):
            raise EvaluationError(
                f"{options.predictions} has a prediction for none of the {len(images)} images of {options.truth}; "
                f"expected files such as {images[0].id}.tif, found {next(iter(predictions.values())).name}."
            )
        progress = tqdm(score_images(images, predictions), total=len(images), unit="image", disable=None, leave=False)
        evaluation = summarise(list(progress))
        if options.output:
            with written_whole(options.output) as file:
                file.write_text(json.dumps(asdict(evaluation), indent=1), encoding="utf-8")
    except (EvaluationError, DatasetError, OSError) as error:
        print(f"evaluate_masks.py: {error}", file=sys.stderr)
        return 2

    print(as_table(evaluation))
    for problem in evaluation.problems:
        print(f"counted as empty: {problem}", file=sys.stderr)
    if absent:
        print(f"images of the subset that are not in {options.truth}: {_some(absent)}", file=sys.stderr)
    extra = sorted(predictions.keys() - {image.id for image in truth})
    if extra:
        print(f"predictions without an image in {options.truth}: {_some(extra)}", file=sys.stderr)
    return 1 if evaluation.problems else 0


def _some(names):
    return f"{len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


if __name__ == "__main__":
    sys.exit(main())

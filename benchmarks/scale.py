#!/usr/bin/env python3
"""What rescaling to the known nuclear diameter gains: scores on magnified copies of the images of a data set.

    python benchmarks/scale.py --data data/dsb2018 --split data/dsb2018_split.csv --subset val --model models/nuclei

Each image and its true label map are magnified by each factor, and predicted as `predict_masks.py` does with
``--diameter none``, with ``--diameter auto``, and with the true median diameter of each copy (`known`). `time` is that
of prediction and decoding, relative to the time without rescaling.
"""

import time
from fractions import Fraction

from options import model_parser

parser = model_parser(__doc__, subset="val")
parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th image, by kind")
parser.add_argument("--factors", type=float, nargs="+", default=[0.33, 0.5, 0.71, 1, 1.41, 2, 3], metavar="X")
args = parser.parse_args()

import cv2
import numpy as np
import pandas as pd
from images import figures_by_kind, read_images
from trials import print_table

from segmentation.bundle import load_bundle
from segmentation.data.images import Image
from segmentation.evaluation.scores import score_image, set_figures
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.predictor import Predictor
from segmentation.prediction.scale import scale_for


def magnify(image: Image, label_map: np.ndarray, factor: float) -> tuple[Image, np.ndarray]:
    """Make the copies that a microscope of another magnification would have given."""
    if factor == 1:
        return image, label_map
    size = tuple(max(1, round(length * factor)) for length in label_map.shape[::-1])
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    pixels = cv2.resize(image.pixels, size, interpolation=interpolation)
    labels = cv2.resize(label_map.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
    return Image(pixels.reshape(*labels.shape, -1), image.channel_names, None), labels


def true_diameter(label_map: np.ndarray) -> float:
    """Median diameter of the disks with the areas of the nuclei, in pixels."""
    areas = np.bincount(label_map.ravel())[1:]
    return float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi)))


def measure(
    images: list[tuple[str, Image, np.ndarray]], auto: Predictor, known: float, factor: float
) -> dict[str, dict[str, str]]:
    """Return the three rows of one factor."""
    scores = {"none": [], "auto": [], "known": []}
    seconds = dict.fromkeys(scores, 0.0)
    for _, image, label_map in images:
        copy, truth = magnify(image, label_map, factor)
        scale = scale_for(true_diameter(label_map) * factor, known)
        for name, predictor in {"none": auto.at(Fraction(1)), "auto": auto, "known": auto.at(scale)}.items():
            started = time.perf_counter()
            predicted = predictor(copy)
            seconds[name] += time.perf_counter() - started
            scores[name].append(score_image(truth, predicted))
    rows = {}
    for name, own in scores.items():
        figures = set_figures(own)
        row = {"Dice": figures["dice"], "AP50": figures["ap50"], "mean AP 0.5-0.9": figures["mean_ap"]}
        row |= {f"AP50, {kind}": ap50 for kind, ap50 in figures_by_kind(own, images, "ap50").items()}
        row["time"] = seconds[name] / seconds["none"]
        rows[f"x {factor:g}, {name}"] = {title: f"{value:.3f}" for title, value in row.items()}
    return rows


def main() -> None:
    bundle = load_bundle(args.model)
    auto = open_predictor(bundle, diameter="auto")
    images = read_images(args.data, args.split, args.subset, args.every)
    print(f"{len(images)} images; the model knows nuclei of {bundle.diameter:.1f} pixels")
    rows = {}
    for factor in args.factors:
        rows |= measure(images, auto, bundle.diameter, factor)
    print_table(pd.DataFrame.from_dict(rows, orient="index").rename_axis("factor, diameter"))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What rescaling to the known nuclear diameter is worth: scores on magnified copies of the images of a data set.

    python benchmarks/scale.py --data data/dsb2018 --split data/dsb2018_split.csv --subset val --model models/nuclei

Each image and its true label map are magnified by each factor, and predicted as `predict_masks.py` does with
``--diameter none``, with ``--diameter auto``, and with the true median diameter of each copy. AP50 is that of all the
nuclei together; `time` is that of prediction and decoding, over what it takes without rescaling.
"""

import argparse
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from images import by_kind, new_parser, read_images

from segmentation.bundle import load_bundle
from segmentation.data.images import Image
from segmentation.evaluation.scores import score_image, set_figures
from segmentation.prediction.predictor import Predictor, open_predictor
from segmentation.prediction.scale import scale_for


def parse_arguments() -> argparse.Namespace:
    parser = new_parser(__doc__, subset="val")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th image, by kind")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.33, 0.5, 0.71, 1, 1.41, 2, 3], metavar="X")
    return parser.parse_args()


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


def measure(images: list[tuple[str, Image, np.ndarray]], auto: Predictor, known: float, factor: float) -> None:
    """Print the three rows of one factor."""
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
    for name, of_images in scores.items():
        figures = set_figures(of_images)
        print(
            f"{factor:6g} {name:>8} {figures['dice']:6.3f} {figures['ap50']:6.3f} {figures['mean_ap']:7.3f} "
            f"{seconds[name] / seconds['none']:5.2f}  "
            + ", ".join(
                f"{kind} {set_figures(scores)['ap50']:.3f}" for kind, scores in by_kind(of_images, images).items()
            ),
            flush=True,
        )


def main() -> None:
    args = parse_arguments()
    bundle = load_bundle(args.model)
    auto = open_predictor(bundle, diameter="auto")
    images = read_images(args.data, args.split, args.subset, args.every)
    print(f"{len(images)} images; the model knows nuclei of {bundle.diameter:.1f} pixels")
    print(f"{'factor':>6} {'diameter':>8} {'dice':>6} {'ap50':>6} {'mean_ap':>7} {'time':>5}  ap50 by kind")
    for factor in args.factors:
        measure(images, auto, bundle.diameter, factor)


if __name__ == "__main__":
    main()

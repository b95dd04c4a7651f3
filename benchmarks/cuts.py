#!/usr/bin/env python3
"""How far the nuclei of a cut-out are those of the whole: contrast by its own limits, or by common ones.

    python benchmarks/cuts.py --data data/dsb2018 --split data/dsb2018_split.csv --model models/nuclei

The middle half along each axis is cut out and predicted, and compared with the same part of the label map of the whole.
Nuclei that the edge of the cut-out divides are left out of both.
"""

from options import model_parser

args = model_parser(__doc__, subset="val").parse_args()

import numpy as np
import pandas as pd
from images import figures_by_kind, read_images
from trials import print_table

from segmentation.bundle import load_bundle
from segmentation.evaluation.scores import score_image
from segmentation.prediction.opening import open_predictor


def middle(array: np.ndarray) -> np.ndarray:
    """Return the middle half along rows and columns."""
    height, width = array.shape[:2]
    return array[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4]


def without_edge(labels: np.ndarray) -> np.ndarray:
    """Drop the nuclei that touch the edge."""
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.where(np.isin(labels, edge), 0, labels)


def main() -> None:
    predictor = open_predictor(load_bundle(args.model))
    stretch = predictor.normalisation
    images = read_images(args.data, args.split, args.subset)
    scores: dict[str, list] = {"image": [], "folder": []}
    for _, image, _ in images:
        pixels, cut = image.pixels, np.ascontiguousarray(middle(image.pixels))
        common = stretch.limits_of_blocks(lambda pixels=pixels, cut=cut: [pixels, cut])
        for how, limits in {"image": (stretch.limits(pixels), stretch.limits(cut)), "folder": (common, common)}.items():
            whole, part = (
                predictor.predict_at_best([stretch.apply(picture, own)])[0].label_map()
                for picture, own in zip((pixels, cut), limits, strict=True)
            )
            scores[how].append(score_image(without_edge(middle(whole)), without_edge(part)))
    rows = {f"--normalise {how}": figures_by_kind(found, images, "ap50") for how, found in scores.items()}
    print(f"AP50 of the cut-out against the whole, {len(images)} images")
    print_table(pd.DataFrame.from_dict(rows, orient="index").map("{:.3f}".format))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How far the scores of nuclei and the verdicts on images can be trusted themselves.

    python benchmarks/scores.py --data data/dsb2018 --split data/dsb2018_split.csv --subset test
    python benchmarks/scores.py --data data/dsb2018 --split data/dsb2018_split.csv    # validation images

Images are predicted as `predict_masks.py` does by default. On the validation images, to which the model's coefficients
were fitted, five others are fitted instead, each without a fifth of the fields, and each image is scored by those that
have not seen its field. Intervals are 95 % bootstrap intervals over groups of images that show one field.
"""

import sys
import time

from options import model_parser

parser = model_parser(__doc__, "val")
arguments = parser.parse_args()

import numpy as np
import pandas as pd

from segmentation.bundle import load_bundle
from segmentation.data.layouts import find_samples
from segmentation.data.splits import read_split
from segmentation.prediction.appearance import look_at
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.trust import Trust
from segmentation.training.trust import fit_trust, observe

FOLDS, DRAWS = 5, 1000


def area_under_curve(score: np.ndarray, is_match: np.ndarray) -> float:
    """Return how often a match has a higher score than a nucleus that matches nothing; half counts if equal."""
    ranks = pd.Series(score).rank().to_numpy()
    matches = is_match.sum()
    return (ranks[is_match].sum() - matches * (matches + 1) / 2) / (matches * (len(score) - matches))


def calibration_error(score: np.ndarray, iou: np.ndarray) -> tuple[float, float]:
    """Return the mean difference of score and IoU in ten bins: weighted by nuclei, and each bin alike."""
    bins = pd.Series(np.minimum((score * 10).astype(int), 9))
    means = pd.DataFrame({"score": score, "iou": iou}).groupby(bins).mean()
    differences = (means.score - means.iou).abs()
    return float(np.average(differences, weights=bins.value_counts().sort_index())), float(differences.mean())


def figures(nuclei: pd.DataFrame, images: pd.DataFrame) -> dict[str, float]:
    weighted, alike = calibration_error(nuclei.score.to_numpy(), nuclei.iou.to_numpy())
    return {
        "area under the ROC curve, IoU > 0.5": area_under_curve(nuclei.score.to_numpy(), nuclei.iou.to_numpy() > 0.5),
        "score - IoU in ten bins, weighted": weighted,
        "score - IoU in ten bins, each alike": alike,
        "rank correlation of AP50": images.expected_ap50.corr(images.ap50, method="spearman"),
        "rank correlation of Dice": images.expected_dice.corr(images.dice, method="spearman"),
        "mean |expected - true AP50|": (images.expected_ap50 - images.ap50).abs().mean(),
        "mean |expected - true Dice|": (images.expected_dice - images.dice).abs().mean(),
    }


def main() -> None:
    rows = read_split(arguments.split) if arguments.split else None
    predictor = open_predictor(load_bundle(arguments.model))
    fitted = predictor.trust
    if fitted is None:
        sys.exit(f"scores.py: {arguments.model} gives no scores; name another --model")
    observations, looks, seen, groups = [], [], [], []
    plain = added = 0.0
    for sample in find_samples(arguments.data):
        if rows is not None and (sample.id not in rows or rows[sample.id].subset != arguments.subset):
            continue
        image = sample.read_image()
        started = time.perf_counter()
        prepared = predictor.prepare(image)
        output = predictor.predict_at_best([prepared])[0]
        labels = output.label_map()
        plain += time.perf_counter() - started
        started = time.perf_counter()
        how = float(output.predictor.scale), output.predictor.view.name
        fitted.find(labels, output.channels, prepared, *how)
        added += time.perf_counter() - started
        truth = sample.read_labels(labels.shape)
        observations.append(observe(output.channels, labels, truth, fitted.encoding))
        looks.append(look_at(prepared))
        seen.append(how)
        groups.append((rows and rows[sample.id].group) or sample.id)
    if not groups:
        sys.exit(f"scores.py: {arguments.data} holds no image of the subset {arguments.subset} of {arguments.split}")

    numbers = pd.factorize(pd.Series(groups))[0]
    folds = np.random.default_rng(0).permutation(np.arange(numbers.max() + 1) % FOLDS)[numbers]
    by_fold = {fold: fitted for fold in range(FOLDS)}
    if rows and arguments.subset == "val":
        for fold in by_fold:
            others = [one for one, own in zip(observations, folds, strict=True) if own != fold]
            coefficients = fit_trust(others, fitted.training_images, fitted.encoding)
            by_fold[fold] = Trust(fitted.encoding, **coefficients)

    nuclei, images = [], []
    for group, fold, one, look, how in zip(numbers, folds, observations, looks, seen, strict=True):
        trust = by_fold[fold]
        verdict = trust.judge(one.evidence, look, *how)
        nuclei.append(pd.DataFrame({"group": group, "score": trust.scores(one.evidence), "iou": one.ious}))
        expected = {"expected_dice": verdict.dice, "expected_ap50": verdict.ap50, "unlike": verdict.unlike}
        images.append({"group": group, "dice": one.dice, "ap50": one.ap50, **expected})
    nuclei, images = pd.concat(nuclei), pd.DataFrame(images)
    judged = images.dropna(subset=["expected_ap50"])
    value = figures(nuclei, judged)
    drawn = []
    tables = {group: (nuclei[nuclei.group == group], judged[judged.group == group]) for group in set(numbers)}
    for chosen in np.random.default_rng(0).integers(0, numbers.max() + 1, (DRAWS, numbers.max() + 1)):
        drawn.append(figures(*(pd.concat(part) for part in zip(*(tables[group] for group in chosen), strict=True))))
    low, high = (pd.DataFrame(drawn).quantile(q) for q in (0.025, 0.975))
    subset = f" of the subset {arguments.subset}" if rows else ""
    print(f"{len(images)} images{subset}, {len(nuclei)} nuclei found")
    for name, figure in value.items():
        print(f"{name:38} {figure:.3f} ({low[name]:.3f}-{high[name]:.3f})")
    print(f"time added to prediction and decoding  {added / plain:.1%}")
    print(f"said to be unlike the training images  {(images.unlike != '').sum()} of {len(images)}")
    for reason, count in images.unlike[images.unlike != ""].value_counts().items():
        print(f"  {count} x {reason}")
    bins = pd.cut(nuclei.score, np.linspace(0, 1, 11))
    print(nuclei.groupby(bins, observed=True).agg(nuclei=("iou", "size"), score=("score", "mean"), iou=("iou", "mean")))


if __name__ == "__main__":
    main()

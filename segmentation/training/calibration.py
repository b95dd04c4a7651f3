"""Choose the threshold of a model on its validation images, score it, and validate the precisions it may compute in.

Also fitted there: how far to trust its results.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from segmentation.bundle import Bundle
from segmentation.data.cache import CachedImages
from segmentation.evaluation.intervals import bootstrap
from segmentation.evaluation.scores import ImageScore, score_image, set_figures
from segmentation.prediction.engines import EngineError, open_engine
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.predictor import Predictor
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.sampling import as_network_input
from segmentation.training.trust import describe_trust, with_trust

# At 0.5, a network that is unsure of borders draws them too far out.
THRESHOLDS = np.arange(30, 85, 5) / 100
# A precision that costs less than this, in Dice coefficient and in mean AP, may be used.
LARGEST_LOSS = 0.002
# A network has learnt something if its Dice coefficient, at some threshold, is at least this fraction of the way from
# that of all pixels to 1. Noise is not decoded: that takes twenty times as long as nuclei, more than an epoch.
_LEARNT = 0.1


@dataclass(frozen=True, eq=False)
class Calibration:
    """A bundle that is not written yet, with the predictions and scores of the validation images.

    `losses` says how much Dice and mean AP fall with each precision besides f32 that this processor computes in.
    """

    bundle: Bundle
    label_maps: list[np.ndarray]
    scores: list[ImageScore]
    losses: dict[str, dict[str, float]]


def calibrate(bundle: Bundle, images: CachedImages, trained_on: CachedImages) -> Calibration:
    """Choose the threshold, score, validate bf16 and fit how far to trust results, on validation images.

    All but the last at native size. `trained_on` are the other images of the training, see `with_trust`.

    The bundle lists bf16 among the precisions if it costs less than `LARGEST_LOSS`. Where this processor cannot compute
    in bf16, what the bundle says of it stays, as long as the threshold does.
    """
    find_nuclei = partial(ENCODINGS[bundle.targets].find_nuclei, min_area=bundle.min_area)
    channels = predict_images(open_predictor(bundle, open_engine(bundle, precision="f32"), diameter=None), images)
    thresholds = bundle.thresholds | {"foreground": choose_threshold(images, channels, find_nuclei)}
    decode = partial(find_nuclei, thresholds=thresholds)
    label_maps, scores = score_images(images, channels, decode)

    known = bundle.precisions if thresholds == bundle.thresholds else {}
    precisions: dict[str, dict] = {"f32": {}} | known
    losses = {}
    try:
        predictor = open_predictor(bundle, open_engine(bundle, precision="bf16"), diameter=None)
    except EngineError:
        pass  # not on this processor
    else:
        _, rounded = score_images(images, predict_images(predictor, images), decode)
        exact, lossy = set_figures(scores), set_figures(rounded)
        losses["bf16"] = {name: round(float(exact[name] - lossy[name]), 5) for name in ("dice", "mean_ap")}
        precisions.pop("bf16", None)
        if max(losses["bf16"].values()) < LARGEST_LOSS:
            precisions["bf16"] = losses["bf16"]
    calibrated = replace(bundle, thresholds=thresholds, precisions=precisions, scores=summarise(images, scores))
    return Calibration(with_trust(calibrated, images, trained_on), label_maps, scores, losses)


def predict_images(predictor: Predictor, images: CachedImages) -> list[np.ndarray]:
    """Return the channels of each whole image, (H, W, C) float32, as ``predict_masks.py`` computes them."""
    return [predictor.predict([as_network_input(images.pixels(index))])[0] for index in range(len(images))]


def score_images(
    images: CachedImages, channels: list[np.ndarray], decode: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[np.ndarray], list[ImageScore]]:
    """Decode the channels of whole images into label maps, (H, W) int32, and score these."""
    label_maps = [decode(predicted) for predicted in channels]
    scores = [score_image(images.label_map(index), label_map) for index, label_map in enumerate(label_maps)]
    return label_maps, scores


def choose_threshold(
    images: CachedImages, channels: list[np.ndarray], decode: Callable[[np.ndarray, dict], np.ndarray]
) -> float:
    """Return that of `THRESHOLDS` at which the sum of Dice coefficient and mean AP is highest.

    Of equals it is the one nearest to one half. For a network that has not learnt to find nuclei, it is the one at
    which the Dice coefficient of the pixels is highest.
    """

    def gain(threshold: float) -> float:
        _, scores = score_images(images, channels, lambda predicted: decode(predicted, {"foreground": threshold}))
        figures = set_figures(scores)
        return figures["dice"] + figures["mean_ap"]

    all_pixels, *gains = _foreground_dice(images, channels, [-np.inf, *THRESHOLDS])
    if max(gains) >= all_pixels + _LEARNT * (1 - all_pixels):
        gains = [gain(threshold) for threshold in THRESHOLDS]
    best = max(range(len(THRESHOLDS)), key=lambda index: (gains[index], -abs(THRESHOLDS[index] - 0.5)))
    return float(THRESHOLDS[best])


def _foreground_dice(images: CachedImages, channels: list[np.ndarray], thresholds: Sequence[float]) -> np.ndarray:
    """Dice coefficient of all pixels above each threshold: means over the images with nuclei, 1.0 without any."""
    values = []
    for index, predicted in enumerate(channels):
        truth = images.label_map(index) > 0
        if truth.any():
            found = [predicted[..., 0] > threshold for threshold in thresholds]
            values.append([2 * np.count_nonzero(f & truth) / (np.count_nonzero(f) + truth.sum()) for f in found])
    return np.mean(values, axis=0) if values else np.ones(len(thresholds))


def summarise(images: CachedImages, scores: list[ImageScore]) -> dict:
    """Return what a bundle says of its scores, in JSON's types.

    Each of the ``figures`` has a ``value`` and the ends, ``low`` and ``high``, of its 95 % bootstrap interval over
    groups of images of one field. A single group tells nothing about others: no interval.
    """
    ends = ("value", "low", "high") if len(set(images.groups)) > 1 else ("value",)
    figures = {
        name: {end: round(getattr(figure, end), 4) for end in ends}
        for name, figure in bootstrap(scores, images.groups).items()
    }
    dice_by_kind = pd.Series([score.dice for score in scores]).groupby(images.kinds).mean().round(4).to_dict()
    return {"subset": "val", "images": len(images), "figures": figures, "dice_by_kind": dice_by_kind}


def describe(before: Bundle, calibration: Calibration) -> str:
    """Say in a few lines what was chosen and validated."""
    bundle, scores = calibration.bundle, calibration.bundle.scores
    was, now = (of.thresholds["foreground"] for of in (before, bundle))
    lines = [f"{scores['images']} validation images", f"threshold of the foreground: {now:g} (was {was:g})"]
    lines += [f"{name:8} {scores['figures'][name]['value']:.4f}" for name in ("dice", "ap50", "mean_ap", "bowl")]
    if not calibration.losses:
        lines.append("bf16: this processor does not compute in it, so it is not validated here")
    for name, loss in calibration.losses.items():
        verdict = "validated" if name in bundle.precisions else f"refused, as {LARGEST_LOSS} is too much"
        lines.append(f"{name}: Dice falls by {loss['dice']:.5f}, mean AP by {loss['mean_ap']:.5f}: {verdict}")
    lines.append(describe_trust(bundle))
    return "\n".join(lines) + "\n"

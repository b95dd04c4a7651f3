"""Choose the threshold of a model on its validation images, and find out which precisions it can be trusted in."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from segmentation.bundle import Bundle
from segmentation.data.cache import CachedImages
from segmentation.evaluation.scores import ImageScore, set_figures
from segmentation.prediction.engines import EngineError, open_engine
from segmentation.prediction.predictor import open_predictor
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.validation import choose_threshold, predict_images, score_images, summarise

# A precision that costs less than this, in Dice coefficient and in mean AP, makes no difference to anyone.
LARGEST_LOSS = 0.002


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the validation images tell about a model.

    Attributes
    ----------
    bundle : Bundle
        With the threshold, the precisions and the scores; not written yet.
    label_maps : list of (H, W) ndarray of int32
        Of the validation images, as predicted.
    scores : list of ImageScore
        Of the validation images.
    losses : dict of str to dict of str to float
        For each precision besides f32 that this processor computes in, by how much Dice coefficient and mean AP fall.
    """

    bundle: Bundle
    label_maps: list[np.ndarray]
    scores: list[ImageScore]
    losses: dict[str, dict[str, float]]


def calibrate(bundle: Bundle, images: CachedImages) -> Calibration:
    """Choose the threshold, score, and validate bf16.

    The images are seen at native size, whatever ``predict_masks.py --diameter`` would make of them.

    Parameters
    ----------
    bundle : Bundle
    images : CachedImages
        The validation images.

    Returns
    -------
    Calibration
        Its bundle lists bf16 among the precisions if that costs less than `LARGEST_LOSS`. Where this processor cannot
        compute in bf16, what the bundle says of it stays, as long as the threshold does.
    """
    targets = ENCODINGS[bundle.targets]
    channels = predict_images(open_predictor(bundle, open_engine(bundle, precision="f32"), diameter=None), images)
    threshold = choose_threshold(images, channels, partial(targets.find_nuclei, min_area=bundle.min_area))
    thresholds = bundle.thresholds | {"foreground": threshold}
    decode = partial(targets.find_nuclei, thresholds=thresholds, min_area=bundle.min_area)
    label_maps, scores = score_images(images, channels, decode)

    known = bundle.precisions if thresholds == bundle.thresholds else {}
    precisions, losses = {"f32": {}} | known, {}
    try:
        predictor = open_predictor(bundle, open_engine(bundle, precision="bf16"), diameter=None)
    except EngineError:
        pass  # not on this processor
    else:
        _, rounded = score_images(images, predict_images(predictor, images), decode)
        losses["bf16"] = _loss(set_figures(scores), set_figures(rounded))
        precisions.pop("bf16", None)
        if max(losses["bf16"].values()) < LARGEST_LOSS:
            precisions["bf16"] = losses["bf16"]
    calibrated = replace(bundle, thresholds=thresholds, precisions=precisions, scores=summarise(images, scores))
    return Calibration(calibrated, label_maps, scores, losses)


def _loss(figures: dict[str, float], rounded: dict[str, float]) -> dict[str, float]:
    return {name: round(float(figures[name] - rounded[name]), 5) for name in ("dice", "mean_ap")}


def describe(before: Bundle, calibration: Calibration) -> str:
    """Say in a few lines what was chosen and validated."""
    bundle = calibration.bundle
    was, now = (of.thresholds["foreground"] for of in (before, bundle))
    lines = [
        f"{bundle.scores['images']} validation images",
        f"threshold of the foreground: {now:g} (was {was:g})",
        *(f"{name:8} {bundle.scores['figures'][name]['value']:.4f}" for name in ("dice", "ap50", "mean_ap", "bowl")),
    ]
    if not calibration.losses:
        lines.append("bf16: this processor does not compute in it, so it is not validated here")
    for name, loss in calibration.losses.items():
        verdict = "validated" if name in bundle.precisions else f"refused, as {LARGEST_LOSS} is too much"
        lines.append(f"{name}: Dice falls by {loss['dice']:.5f}, mean AP by {loss['mean_ap']:.5f}: {verdict}")
    return "\n".join(lines) + "\n"

"""What a trained model gives on its validation images: the figures, and pictures of the best and the worst."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from segmentation.data.cache import CachedImages
from segmentation.evaluation.intervals import bootstrap
from segmentation.evaluation.scores import ImageScore, score_image, set_figures
from segmentation.prediction.predictor import Predictor

# What is tried; a network that is unsure of borders has them too far out at 0.5.
THRESHOLDS = np.arange(30, 85, 5) / 100

# A Dice coefficient that is not at least this fraction of the way from what all pixels give to 1, at any threshold, is
# that of noise. A network gives noise after an epoch, and it takes twenty times as long to decode as nuclei do: more
# than the epoch took.
_LEARNT = 0.1


def predict_images(predictor: Predictor, images: CachedImages) -> list[np.ndarray]:
    """Run the network on whole images, as ``predict_masks.py`` does.

    Parameters
    ----------
    predictor : Predictor
        One that does not search for a scale.
    images : CachedImages

    Returns
    -------
    list of (H, W, C) ndarray of float32
        The channels of each image.
    """
    return [predictor.predict([images.pixels(index).astype(np.float32) / 255])[0] for index in range(len(images))]


def score_images(
    images: CachedImages, channels: list[np.ndarray], decode: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[np.ndarray], list[ImageScore]]:
    """Decode the channels of whole images, and score the label maps.

    Parameters
    ----------
    images : CachedImages
    channels : list of (H, W, C) ndarray of float32
        From `predict_images`.
    decode : callable
        ``(H, W, C) float32 -> (H, W) int32``, a label map.

    Returns
    -------
    label_maps : list of (H, W) ndarray of int32
        As predicted.
    scores : list of ImageScore
    """
    label_maps = [decode(predicted) for predicted in channels]
    scores = [score_image(images.label_map(index), label_map) for index, label_map in enumerate(label_maps)]
    return label_maps, scores


def choose_threshold(
    images: CachedImages, channels: list[np.ndarray], decode: Callable[[np.ndarray, dict], np.ndarray]
) -> float:
    """Find the threshold of the foreground at which the sum of Dice coefficient and mean AP is highest.

    Of a network that has not learnt to find nuclei, the one at which the Dice coefficient of the foreground is highest.

    Parameters
    ----------
    images : CachedImages
    channels : list of (H, W, C) ndarray of float32
        From `predict_images`; the first channel is the probability of foreground.
    decode : callable
        ``decode(channels, {"foreground": threshold})``, a label map.

    Returns
    -------
    float
        One of `THRESHOLDS`; of equals the one nearest to one half, as always if no image has nuclei.
    """
    chance, *of_thresholds = _foreground_dice(images, channels, (-np.inf, *THRESHOLDS))
    if max(of_thresholds) < chance + _LEARNT * (1 - chance):
        return _best_threshold(of_thresholds)

    def gain(threshold: float) -> float:
        _, scores = score_images(images, channels, lambda predicted: decode(predicted, {"foreground": threshold}))
        figures = set_figures(scores)
        return figures["dice"] + figures["mean_ap"]

    return _best_threshold([gain(threshold) for threshold in THRESHOLDS])


def _best_threshold(gains: list[float]) -> float:
    """The threshold with the highest gain; of equals the one nearest to one half."""
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
    """Put together what a bundle says of its scores.

    Parameters
    ----------
    images : CachedImages
    scores : list of ImageScore
        Of each image.

    Returns
    -------
    dict
        In JSON's types: ``figures``, each with its 95 % bootstrap interval over groups of images of one field, and
        ``dice_by_kind``, the mean Dice coefficient of each kind of image.
    """
    figures = {
        name: {"value": round(figure.value, 4), "low": round(figure.low, 4), "high": round(figure.high, 4)}
        for name, figure in bootstrap(scores, images.groups).items()
    }
    by_kind = {
        kind: round(
            float(np.mean([score.dice for score, of in zip(scores, images.kinds, strict=True) if of == kind])), 4
        )
        for kind in sorted(set(images.kinds))
    }
    return {"subset": "val", "images": len(images), "figures": figures, "dice_by_kind": by_kind}


def draw_examples(
    file: Path, images: CachedImages, label_maps: list[np.ndarray], scores: list[ImageScore], examples: int = 2
) -> None:
    """Draw image, truth and prediction of the best, the median and the worst images by Dice coefficient.

    Parameters
    ----------
    file : Path
        PNG. It shows the data: keep it out of a repository unless the images may be published.
    images, label_maps, scores
        As given to and returned by `score_images`.
    examples : int
        Rows for each of best, median and worst; fewer where an image would be shown twice.
    """
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    order = np.argsort([score.dice for score in scores])[::-1]
    # Each image is shown once: of one image there is only a best, of two a best and a worst.
    examples = max(min(examples, len(order) // 3), 1)
    middle = (len(order) - examples) // 2
    chosen = {
        "best": order[:examples],
        "median": order[middle : middle + examples] if len(order) > 2 else [],
        "worst": order[-examples:] if len(order) > 1 else [],
    }
    rows = [(name, index) for name, indices in chosen.items() for index in indices]
    figure = Figure(figsize=(10, 3.4 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for (name, index), (left, centre, right) in zip(rows, panels, strict=True):
        pixels, truth, score = images.pixels(index), images.label_map(index), scores[index]
        for axes, label_map, title in (
            (left, None, f"{name}: {images.ids[index][:12]}, {images.kinds[index]}"),
            (centre, truth, f"truth: {score.true_nuclei} nuclei"),
            (right, label_maps[index], f"predicted: {score.predicted_nuclei}, Dice {score.dice:.3f}"),
        ):
            axes.imshow(pixels)
            if label_map is not None and label_map.any():
                axes.imshow(np.ma.masked_equal(label_map * 37 % 19 + (label_map > 0), 0), cmap="hsv", alpha=0.45)
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
    figure.savefig(file, dpi=80)

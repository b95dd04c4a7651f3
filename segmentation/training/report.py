"""The page about a training: its curves, what the model scores, its best and worst images, how it was set."""

import base64
import io
from datetime import datetime
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from segmentation.bundle import Bundle
from segmentation.data.cache import CachedImages
from segmentation.evaluation.scores import ImageScore
from segmentation.results.report.page import write_page
from segmentation.results.report.pictures import draw_outlines, draw_picture
from segmentation.training.calibration import Calibration
from segmentation.training.history import best_epoch, draw_history, minutes_of
from segmentation.training.resume import Run

_EXAMPLES = 6
_VIEWS = (
    {"name": "image", "title": "Image"},
    {"name": "truth", "title": "Truth", "layer": "truth"},
    {"name": "prediction", "title": "Prediction", "layer": "outlines"},
)
_SCORES = {
    "dice": "Dice coefficient",
    "iou": "Intersection over union",
    "ap50": "Average precision at IoU 0.50",
    "ap75": "Average precision at IoU 0.75",
    "mean_ap": "Average precision, mean of IoU 0.50 to 0.90",
    "bowl": "Score of the 2018 Data Science Bowl",
}


def write_training_page(
    file: Path, name: str, calibration: Calibration, history: pd.DataFrame, images: CachedImages
) -> None:
    """Write the page of the training of the model `name`, with its curves and its validation images."""
    bundle = calibration.bundle
    training, figures = bundle.training, bundle.scores["figures"]
    svg = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text, in the reader's fonts
        draw_history(history).savefig(svg, format="svg")
    write_page(
        file,
        "training.html.j2",
        heading=f"Training of the model {name}",
        subheading=f"{datetime.now():%d %B %Y, %H:%M}",
        figures=[
            ("Dice coefficient", f"{figures['dice']['value']:.3f}"),
            ("Mean average precision", f"{figures['mean_ap']['value']:.3f}"),
            ("Training images", f"{training['images']['train']:,}"),
            ("Epochs", f"{training['epochs']:,}"),
            ("Time", f"{training['minutes']:g} min"),
        ],
        curves=base64.b64encode(svg.getvalue()).decode("ascii"),
        learning_rate=_learning_rate_steps(history),
        validated=f"{len(images):,} validation image{'' if len(images) == 1 else 's'}",
        scores=[{"title": title, **figures[name]} for name, title in _SCORES.items()],
        kinds=list(bundle.scores["dice_by_kind"].items()),
        gallery={
            "views": _VIEWS,
            "view": "prediction",
            "orders": [],
            "images": _examples(images, calibration.label_maps, calibration.scores),
            "hint": "Ordered by Dice coefficient, the best first. Press a picture to change only that one.",
        },
        settings=_settings(bundle),
    )


def _learning_rate_steps(history: pd.DataFrame) -> str:
    """Say which epoch was best, and when the learning rate was halved because the validation loss no longer fell."""
    rates = history.get("learning_rate", pd.Series(dtype=float))
    halved = history.index[rates.diff() < -0.01 * rates.shift()]
    steps = [f"to {rates[row]:.3g} after epoch {history['epoch'][row]:.0f}" for row in halved]
    return (
        f"The dotted line is the best epoch, {best_epoch(history)}, with a validation loss of "
        f"{history['val_loss'].min():.4g}. The learning rate warms up at the start and cools down at the end; besides, "
        f"it is halved where the validation loss does not fall: {', '.join(steps) or 'here never'}."
    )


def describe_training(run: Run, history: pd.DataFrame, scores: dict) -> str:
    """Say in a few lines what came out of a training."""
    best = best_epoch(history)
    stopped = "stopped early, " if best + run.config.patience <= len(history) < run.config.epochs else ""
    lines = [
        f"{len(history)} epoch{'' if len(history) == 1 else 's'} in {minutes_of(history):.1f} minutes, {stopped}"
        f"kept the weights of epoch {best}"
    ]
    for name, title in {"dice": "Dice", "iou": "IoU", "ap50": "AP50", "mean_ap": "mean AP", "bowl": "Bowl"}.items():
        figure = scores["figures"][name]
        interval = f"   95 % interval {figure['low']:.3f} .. {figure['high']:.3f}" if "low" in figure else ""
        lines.append(f"validation {title:8} {figure['value']:.3f}{interval}")
    if not scores["figures"]["ap50"]["value"]:
        lines.append("It matches no nucleus of these images: train it longer, or on more images, before you use it.")
    return "\n".join([*lines, f"model: {run.folder}    look at {run.folder / 'report.html'}"])


def _examples(images: CachedImages, label_maps: list[np.ndarray], scores: list[ImageScore]) -> list[dict]:
    order = np.argsort([-score.dice for score in scores], kind="stable").tolist()
    best, worst = order[: min(_EXAMPLES, (len(order) + 1) // 2)], order[(len(order) + 1) // 2 :][-_EXAMPLES:]
    return [
        {
            "file": images.ids[index],
            "path": images.ids[index],
            "facts": f"Dice {scores[index].dice:.3f}, {images.kinds[index]}, "
            f"{scores[index].predicted_nuclei:,} nuclei found, {scores[index].true_nuclei:,} true",
            "links": [],
            "picture": draw_picture(images.pixels(index), label_maps[index])
            | {"truth": draw_outlines(images.label_map(index))},
        }
        for index in best + worst
    ]


def _settings(bundle: Bundle) -> list[tuple[str, str]]:
    training = bundle.training
    return [
        ("Data", f"{training['data']} (digest {training['data_sha256'][:12]})"),
        ("Images", ", ".join(f"{count:,} {subset}" for subset, count in training["images"].items())),
        *((name.replace("_", " ").capitalize(), f"{value}") for name, value in training["config"].items()),
        *((f"Threshold of the {name}", f"{value:g}") for name, value in bundle.thresholds.items()),
        ("Median diameter of the nuclei", f"{bundle.diameter:g} px"),
        ("Smallest nucleus", f"{bundle.min_area} px²"),
        ("Software", ", ".join(f"{name} {version}" for name, version in bundle.libraries.items())),
    ]

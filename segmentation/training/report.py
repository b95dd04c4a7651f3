"""The page about a training: its curves, what the model scores, its best and worst images, how it was set."""

from datetime import datetime

import numpy as np

from segmentation.results.report.charts import curves
from segmentation.results.report.page import write_page
from segmentation.results.report.pictures import draw_outlines, draw_picture

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


def write_training_page(file, bundle, history, images, label_maps, scores):
    """Write the page.

    It shows validation images: keep it out of a repository unless they may be published.

    Parameters
    ----------
    file : Path
    bundle : segmentation.bundle.Bundle
        What the training made.
    history : list of dict
        The figures of each epoch, from `segmentation.training.fit.fit`.
    images : segmentation.data.cache.CachedImages
        The validation images.
    label_maps : list of (H, W) ndarray of int32
        As predicted.
    scores : list of segmentation.evaluation.scores.ImageScore
        Of each image.
    """
    training, figures = bundle.training, bundle.scores["figures"]
    write_page(
        file,
        "training.html.j2",
        heading=f"Training of the model {bundle.folder.resolve().name}",
        subheading=f"{datetime.now():%d %B %Y, %H:%M}",
        figures=[
            ("Dice coefficient", f"{figures['dice']['value']:.3f}"),
            ("Mean average precision", f"{figures['mean_ap']['value']:.3f}"),
            ("Training images", f"{training['images']['train']:,}"),
            ("Epochs", f"{training['epochs']:,}"),
            ("Time", f"{training['minutes']:g} min"),
        ],
        charts=_charts(history),
        learning_rate=_learning_rate_steps(history),
        validated=f"{len(images):,} validation image{'' if len(images) == 1 else 's'}",
        scores=[{"title": title, **figures[name]} for name, title in _SCORES.items()],
        kinds=list(bundle.scores["dice_by_kind"].items()),
        gallery={
            "views": _VIEWS,
            "view": "prediction",
            "orders": [],
            "images": _examples(images, label_maps, scores),
            "hint": "By Dice coefficient. Press a picture to change only that one.",
        },
        settings=_settings(bundle),
    )


def _charts(history):
    best = min(history, key=lambda row: row["val_loss"])["epoch"] + 1

    def series(**columns):
        return {name: [row[column] for row in history] for name, column in columns.items()}

    return [
        curves("Loss", "Loss", series(training="loss", validation="val_loss"), mark=best),
        curves(
            "Dice coefficient on crops",
            "Dice coefficient",
            series(training="dice", validation="val_dice"),
            mark=best,
            highest=1.0,
        ),
        curves(
            "Learning rate",
            "Learning rate",
            series(base="learning_rate", used="learning_rate_used"),
            mark=best,
            logarithmic=True,
        ),
    ]


def _learning_rate_steps(history):
    """Say when the learning rate was lowered, because the validation loss no longer fell, and which epoch was best."""
    best = min(history, key=lambda row: row["val_loss"])
    text = (
        f"The dotted line is the best epoch, {best['epoch'] + 1}, with a validation loss of {best['val_loss']:.4g}. "
        "Warming up and cooling down multiply the base learning rate, which is halved where the validation loss stays "
        "as it is: "
    )
    rates = [row["learning_rate"] for row in history]
    steps = [
        f"to {after:.3g} after epoch {epoch}"
        for epoch, (before, after) in enumerate(zip(rates[:-1], rates[1:], strict=True), 1)
        if after < 0.99 * before
    ]
    if not steps:
        return text + "here never."
    return text + f"{', '.join(steps)}."


def _examples(images, label_maps, scores):
    order = np.argsort([-score.dice for score in scores], kind="stable").tolist()
    best = order[: min(_EXAMPLES, (len(order) + 1) // 2)]
    worst = order[len(best) :][-_EXAMPLES:]
    entries = []
    for rank, indices in (("Best", best), ("Worst", worst)):
        for index in indices:
            score = scores[index]
            picture = draw_picture(images.pixels(index), label_maps[index])
            picture["truth"] = draw_outlines(images.label_map(index))
            entries.append(
                {
                    "file": images.ids[index],
                    "path": images.ids[index],
                    "facts": f"{rank}: Dice {score.dice:.3f}, {score.predicted_nuclei:,} nuclei found, "
                    f"{score.true_nuclei:,} true, {images.kinds[index]}",
                    "links": [],
                    "picture": picture,
                }
            )
    return entries


def _settings(bundle):
    training = bundle.training
    rows = [
        ("Data", f"{training['data']} (digest {training['data_sha256'][:12]})"),
        ("Images", ", ".join(f"{count:,} {subset}" for subset, count in training["images"].items())),
    ]
    rows += [(name.replace("_", " ").capitalize(), f"{value}") for name, value in training["config"].items()]
    rows += [(f"Threshold of the {name}", f"{value:g}") for name, value in bundle.thresholds.items()]
    rows += [
        ("Median diameter of the nuclei", f"{bundle.diameter:g} px"),
        ("Smallest nucleus", f"{bundle.min_area} px²"),
        ("Software", ", ".join(f"{name} {version}" for name, version in bundle.libraries.items())),
    ]
    return rows

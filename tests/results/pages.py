"""Pages about drawn images, for the tests of the report."""

from pathlib import Path

import numpy as np
import pandas as pd

from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.batch.outputs import Prediction
from segmentation.batch.records import Record
from segmentation.bundle import Bundle
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import Image
from segmentation.evaluation.scores import score_image
from segmentation.results.report.prediction import image_part, write_prediction_page
from segmentation.training.calibration import Calibration
from segmentation.training.report import write_training_page

SETTINGS = {
    "model": "0" * 64,
    "engine": "openvino",
    "precision": "f32",
    "thresholds": {"foreground": 0.5},
    "min_area": 20,
    "diameter": "auto",
    "pixel_size_um": None,
    "tta": False,
    "channel": None,
}
FIGURE = {"value": 0.9, "low": 0.85, "high": 0.94}
BUNDLE = Bundle(
    folder=Path("models/drawn"),
    targets="centre_offsets",
    channels=("foreground", "row_offset", "column_offset", "log_radius"),
    normalisation={},
    diameter=20.0,
    receptive_field_radius=4,
    divisor=2,
    thresholds={"foreground": 0.5},
    min_area=20,
    precisions={"f32": {}},
    training={
        "config": {"loss": "bce_dice", "learning_rate": 0.002},
        "data": "<b>my data</b>.zip",
        "data_sha256": "d" * 64,
        "images": {"train": 5, "val": 3},
        "epochs": 4,
        "minutes": 1.5,
    },
    scores={
        "figures": dict.fromkeys(("dice", "iou", "ap50", "ap75", "mean_ap", "bowl"), FIGURE),
        "dice_by_kind": {"fluorescence": 0.9, "stained": 0.8},
    },
    libraries={"numpy": "2.4"},
)


def summary(failures=(), done=1, skipped=0, **changes):
    """What a call writes into summary.json, as far as the page reads it."""
    return {
        "images": {"all": done + skipped + len(failures), "done": done, "skipped": skipped, "failed": len(failures)},
        "failures": list(failures),
        "settings": SETTINGS,
        "seconds": {"total": 12.3},
        "libraries": {"python": "3.11.7", "openvino": "2026.4"},
    } | changes


def drawn(number, side=160, pixel_size_um=None):
    """A drawn image with its truth as the prediction; every third is stained."""
    rng = np.random.default_rng(number)
    pixels, labels = (draw_stained if number % 3 == 2 else draw_fluorescence)(rng, (side, side))
    pixels = np.atleast_3d(pixels)
    names = ("grey",) if pixels.shape[-1] == 1 else ("red", "green", "blue")
    size = pixel_size_um and PixelSize(pixel_size_um, pixel_size_um)
    return Prediction(f"drawn_{number}", Image(pixels, names, size), labels, labels[..., None])


def page_entry(file, part, outputs=("masks", "overlays")):
    """The record of an image, and its part of the page."""
    name = Path(file).stem
    nuclei = sum(count for _, count in part["areas"])
    files = {output: {f"{output}/{name}.png": 1} for output in outputs}
    return Record(name, file, "0" * 64, SETTINGS, nuclei, files), part


def write_page_of(file, files, different=12, failures=(), **options):
    """Write a page about image files of these names; `different` images are drawn, and used again and again."""
    parts = [image_part(drawn(number, **options)) for number in range(min(different, len(files)))]
    images = [page_entry(name, parts[number % len(parts)]) for number, name in enumerate(files)]
    write_prediction_page(file, [summary(failures, len(images))], images, len(images) + len(failures), bundle=BUNDLE)
    return images


class Images:
    """Validation images, with what of `CachedImages` the page asks for."""

    def __init__(self, count):
        self.predictions = [drawn(number) for number in range(count)]
        self.ids = [f"<i>image</i> {number}" for number in range(count)]
        self.kinds = ["fluorescence"] * count

    def __len__(self):
        return len(self.predictions)

    def pixels(self, index):
        return np.broadcast_to(self.predictions[index].image.pixels, (160, 160, 3))

    def label_map(self, index):
        return self.predictions[index].labels


def write_training_page_of(file, count=3, rates=(0.002, 0.002, 0.001, 0.001), bundle=BUNDLE):
    """Write a page about a training with so many validation images, the first of which is the best predicted."""
    images = Images(count)
    label_maps = [np.where(images.label_map(index) > index, images.label_map(index), 0) for index in range(count)]
    scores = [score_image(images.label_map(index), label_maps[index]) for index in range(count)]
    history = pd.DataFrame(
        {
            "epoch": epoch,
            **{"loss": 3 / (epoch + 1), "val_loss": 2 - epoch % 3, "crop_dice": 0.5, "val_crop_dice": 0.1 * epoch},
            **{"learning_rate": rate, "learning_rate_used": rate / (epoch + 1)},
        }
        for epoch, rate in enumerate(rates)
    )
    write_training_page(file, "drawn", Calibration(bundle, label_maps, scores, {}), history, images)
    return scores

"""Make a trained network into a bundle: export it, score it on the validation images, describe it."""

from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from segmentation.bundle import Bundle, load_bundle, write_bundle
from segmentation.data.cache import CachedImages
from segmentation.data.normalisation import Normalisation
from segmentation.data.training_data import TrainingData
from segmentation.network.unet import receptive_field_radius
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.calibration import calibrate
from segmentation.training.export import export_model
from segmentation.training.fit import new_network
from segmentation.training.report import write_training_page
from segmentation.training.resume import Run
from segmentation.training.validation import draw_examples


def package(model: keras.Model, run: Run, subsets: TrainingData, history: list[dict], folder: Path) -> dict:
    """Write the bundle of a trained network, ``validation.png`` and ``report.html``.

    Parameters
    ----------
    model : keras.Model
        With the weights to keep.
    run : Run
    subsets : TrainingData
    history : list of dict
        From `segmentation.training.fit.fit`.
    folder : Path

    Returns
    -------
    dict
        The scores on the validation images, see `segmentation.training.validation.summarise`.
    """
    network = new_network(run.config)
    network.set_weights(model.get_weights())
    export_model(network, folder)
    areas = nuclear_areas(subsets.train)
    write_bundle(
        Bundle(
            folder=folder,
            targets=run.config.targets,
            channels=ENCODINGS[run.config.targets].channels,
            normalisation=asdict(Normalisation()),
            diameter=round(float(np.median(2 * np.sqrt(areas / np.pi))), 2) if len(areas) else 0.0,
            receptive_field_radius=receptive_field_radius(run.config.depth),
            divisor=run.config.divisor,
            thresholds={"foreground": 0.5},
            # What is far smaller than nearly all nuclei is not one.
            min_area=int(np.percentile(areas, 1) / 2) if len(areas) else 0,
            precisions={"f32": {}},
            training={
                "config": asdict(run.config),
                "data": Path(run.data).name,
                "init": {"model": Path(run.init).name, "digest": run.init_digest} if run.init else None,
                "data_sha256": subsets.digest,
                "images": {"train": len(subsets.train), "val": len(subsets.val)},
                "epochs": len(history),
                "minutes": round(sum(epoch["seconds"] for epoch in history) / 60, 1),
                "backend": keras.backend.backend(),
            },
            scores={},
        )
    )
    calibration = calibrate(load_bundle(folder), subsets.val)
    write_bundle(calibration.bundle)
    label_maps, scores = calibration.label_maps, calibration.scores
    draw_examples(folder / "validation.png", subsets.val, label_maps, scores)
    write_training_page(folder / "report.html", load_bundle(folder), history, subsets.val, label_maps, scores)
    return calibration.bundle.scores


def nuclear_areas(images: CachedImages) -> np.ndarray:
    """Return the area of every nucleus of the images, in pixels."""
    return np.concatenate([np.bincount(images.label_map(index).ravel())[1:] for index in range(len(images))])

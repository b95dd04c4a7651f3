"""Save a trained network as a bundle: export it, score it on the validation images, describe it."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pandas as pd

from segmentation.atomic import written_whole
from segmentation.bundle import DESCRIPTION, Bundle, load_bundle, write_bundle
from segmentation.data.cache import CachedImages
from segmentation.data.normalisation import Normalisation
from segmentation.data.splits import write_split
from segmentation.data.training_data import TrainingData
from segmentation.network.geometry import geometry_of
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.calibration import calibrate
from segmentation.training.checkpoint import describe_loss
from segmentation.training.errors import TrainingError
from segmentation.training.history import draw_history, minutes_of, write_history
from segmentation.training.report import write_training_page
from segmentation.training.resume import Run, can_export


def save_model(model: keras.Model, run: Run, data: TrainingData) -> tuple[pd.DataFrame, dict]:
    """Write the bundle of a trained network, its history, split and report into the folder of the training.

    All of it is made and scored in the checkpoint, then moved, so that an older model in the folder stays whole until
    then. Return the metrics of each epoch, and the scores of `segmentation.training.calibration`. `TrainingError` where
    TensorFlow is not installed.
    """
    if not can_export():
        raise TrainingError(
            f"The network is trained, and its weights are in {run.checkpoint}; TensorFlow, which writes the model that "
            "predict_masks.py takes, is not installed here: where it is (pip install -r requirements.txt), finish "
            f"with: python train.py --output {run.folder} --resume"
        )
    history = run.history
    folder = run.checkpoint / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    export_model(_with_layers_of_keras(model), folder)
    areas = nuclear_areas(data.train)
    radius, divisor = geometry_of(model)
    bundle = Bundle(
        folder=folder,
        targets=run.config.targets,
        channels=ENCODINGS[run.config.targets].channels,
        normalisation=asdict(Normalisation()),
        diameter=round(float(np.median(2 * np.sqrt(areas / np.pi))), 2) if len(areas) else 0.0,
        receptive_field_radius=radius,
        divisor=divisor,
        thresholds={"foreground": 0.5},
        # What is far smaller than nearly all nuclei is not one.
        min_area=int(np.percentile(areas, 1) / 2) if len(areas) else 0,
        precisions={"f32": {}},
        training={
            "config": asdict(run.config),
            "loss": describe_loss(model),  # as it was compiled, whatever the settings say
            "data": Path(run.data).name,
            "init": {"model": Path(run.init).name, "digest": run.init_digest} if run.init else None,
            "data_sha256": data.digest,
            "images": {"train": len(data.train), "val": len(data.val)},
            "epochs": len(history),
            "minutes": round(minutes_of(history), 1),
            "backend": keras.backend.backend(),
        },
        scores={},
    )
    write_bundle(bundle)
    calibration = calibrate(load_bundle(folder), data.val, data.train)
    write_bundle(calibration.bundle)
    write_history(folder / "history.csv", history)
    write_split(data.split, folder / "split.csv")
    draw_history(history).savefig(folder / "curves.png", dpi=110)
    write_training_page(folder / "report.html", run.folder.resolve().name, calibration, history, data.val)
    # The description last: while it does not fit the other files, the bundle is refused.
    for file in sorted(folder.iterdir(), key=lambda file: file.name == DESCRIPTION):
        os.replace(file, run.folder / file.name)
    folder.rmdir()
    run.finish()
    return history, calibration.bundle.scores


def nuclear_areas(images: CachedImages) -> np.ndarray:
    """Return the area of each nucleus of the images, in pixels."""
    return np.concatenate([np.bincount(images.label_map(index).ravel())[1:] for index in range(len(images))])


def export_model(network: keras.Model, folder: Path) -> None:
    """Write a network of Keras' own layers as ``model.keras``, and as ``model.xml`` and ``model.bin`` for OpenVINO.

    OpenVINO's weights are in half precision: half the size, and no measurable difference.
    """
    with written_whole(folder / "model.keras") as part:
        network.save(part)
    if keras.backend.backend() == "tensorflow":
        _write_openvino(network, folder)
    else:
        # Keras converts by way of TensorFlow, which takes a process of its own.
        command = [sys.executable, "-m", "segmentation.training.export", str(folder)]
        paths = os.pathsep.join(filter(None, sys.path))
        subprocess.run(command, check=True, env=os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": paths})


def _with_layers_of_keras(model: keras.Model) -> keras.Model:
    """Copy a network, with Keras' own batch normalisation, so that it loads without this package."""

    def plain(layer: keras.layers.Layer) -> keras.layers.Layer:
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        if normalises:
            return keras.layers.BatchNormalization.from_config(layer.get_config() | {"synchronized": False})
        return type(layer).from_config(layer.get_config())

    # Only the layers: Keras would compile the copy of a compiled model, with a loss that may not be registered.
    layers = keras.Model(model.inputs, model.outputs, name=model.name)
    network = keras.models.clone_model(layers, clone_function=plain)
    network.set_weights(model.get_weights())
    return network


def _write_openvino(network: keras.Model, folder: Path) -> None:
    import openvino
    from openvino.tools import ovc

    openvino.convert_model = ovc.convert_model  # which is missing where this process has predicted before
    # Anywhere but in a CI job, OpenVINO's converter reports each conversion to its makers.
    not_reported = mock.patch.dict(os.environ, {"CI": "true"})
    with not_reported, tempfile.TemporaryDirectory(dir=folder) as partial:
        exported = os.path.join(partial, "exported.xml")
        network.export(exported, format="openvino", verbose=False)
        converted = openvino.Core().read_model(exported)
        openvino.save_model(converted, os.path.join(partial, "model.xml"), compress_to_fp16=True)
        # OpenVINO chooses the name of the weights, so both are written whole in a folder of their own.
        for name in ("model.xml", "model.bin"):
            os.replace(os.path.join(partial, name), folder / name)


if __name__ == "__main__":
    given = Path(sys.argv[1])
    _write_openvino(keras.saving.load_model(given / "model.keras", compile=False), given)

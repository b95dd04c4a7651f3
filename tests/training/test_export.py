import json
import os
import sys
import zipfile

import keras
import numpy as np
import openvino
import pandas as pd
import pytest

from segmentation.bundle import load_bundle
from segmentation.data.normalisation import Normalisation
from segmentation.data.splits import SplitRow
from segmentation.data.training_data import TrainingData
from segmentation.evaluation.scores import score_image
from segmentation.network.target_losses import TargetLoss
from segmentation.network.unet import build_unet
from segmentation.prediction.opening import open_predictor
from segmentation.targets.encodings import ENCODINGS
from segmentation.training import speed
from segmentation.training.calibration import THRESHOLDS
from segmentation.training.errors import TrainingError
from segmentation.training.export import export_model, nuclear_areas, save_model
from segmentation.training.resume import NO_EXPORT, Run, describe_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(dropout=0.1)


@pytest.fixture(scope="module")
def subsets(drawn_images):
    row = SplitRow("train")
    ids = drawn_images.ids
    train = drawn_images.select(dict.fromkeys(ids[:5], row))
    val = drawn_images.select(dict.fromkeys(ids[5:], row))
    return TrainingData(train, val, split={}, digest="d" * 64, warnings="")


def new_network(config, **options):
    activations = ENCODINGS[config.targets].activations
    return build_unet(activations, base_filters=config.base_filters, depth=config.depth, seed=config.seed, **options)


@pytest.fixture(scope="module")
def model(config, drawn_images):
    """A network after some training steps on whole images: it has learnt where the bright nuclei are."""
    model = new_network(config, batch_normalisation=speed.batch_normalisation())
    loss = TargetLoss(config.targets, foreground=config.loss)
    model.compile(keras.optimizers.AdamW(0.01, clipnorm=1.0), loss, jit_compile=False)
    encode = ENCODINGS[config.targets].encode
    images = np.stack([drawn_images.pixels(index) for index in (0, 1, 3, 4)]).astype(np.float32) / 255
    targets = np.stack([encode(drawn_images.label_map(index)) for index in (0, 1, 3, 4)])
    for _ in range(40):
        model.train_on_batch(images, targets)
    return model


def write_state(run, history):
    state = {"epochs_done": len(history), "files": {}, "history": history, "callbacks": {}}
    (run.checkpoint / "state.json").write_text(json.dumps(state))


@pytest.fixture(scope="module")
def packaged(tmp_path_factory, model, config, subsets):
    """The folder of a bundle, and the scores that `save_model` returned."""
    folder = tmp_path_factory.mktemp("bundle")
    run = Run(folder, data="/somewhere/nuclei.zip", config=config)
    run.begin()
    figures = ("loss", "val_loss", "crop_dice", "val_crop_dice", "learning_rate", "learning_rate_used")
    history = [{"epoch": epoch, "seconds": 25.2, **dict.fromkeys(figures, 1 / (epoch + 1))} for epoch in range(3)]
    write_state(run, history)
    (folder / "history.csv").write_text("of an older model")
    return folder, save_model(model, run, subsets)[1]


@pytest.fixture
def images():
    return np.random.default_rng(1).random((2, 36, 48, 3), dtype=np.float32)


def openvino_output(folder, images):
    core = openvino.Core()
    compiled = core.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return next(iter(compiled(images).values()))


def test_without_tensorflow_it_is_said_at_the_start_and_the_weights_are_kept(
    model, config, subsets, tmp_path, monkeypatch
):
    run = Run(tmp_path, config=config)
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as where it is not installed
    assert describe_data(subsets).endswith(NO_EXPORT)
    run.checkpoint.mkdir(parents=True, exist_ok=True)
    (run.checkpoint / "state.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"its weights are in .*finish with: python train.py --output .* --resume"):
        save_model(model, run, subsets)
    assert [file.name for file in run.checkpoint.iterdir()] == ["state.json"]


def test_bundle_is_whole(packaged):
    folder, _ = packaged
    names = {file.name for file in folder.iterdir()}
    written = {"history.csv", "curves.png", "split.csv", "report.html"}
    assert names == {"bundle.json", "model.keras", "model.xml", "model.bin", "checkpoint"} | written
    assert len(pd.read_csv(folder / "history.csv")) == 3
    assert {file.name for file in (folder / "checkpoint").iterdir()} == {"run.json", "state.json", "finished"}
    load_bundle(folder)  # verifies the checksums


def test_bundle_tells_what_prediction_needs(packaged, config, subsets):
    folder, _ = packaged
    bundle = load_bundle(folder)
    assert bundle.targets == "centre_offsets"
    assert bundle.channels == ENCODINGS["centre_offsets"].channels
    assert bundle.divisor == 4
    assert bundle.receptive_field_radius == 18
    assert Normalisation(**bundle.normalisation) == Normalisation()
    assert bundle.training["config"]["base_filters"] == 4 and bundle.training["config"]["dropout"] == 0.1
    assert bundle.training["data"] == "nuclei.zip"  # and not where it lay
    assert bundle.training["data_sha256"] == "d" * 64
    assert bundle.training["images"] == {"train": 5, "val": 3}
    assert (bundle.training["epochs"], bundle.training["minutes"]) == (3, 1.3)


def test_sizes_are_those_of_the_training_nuclei(packaged, drawn_images, subsets):
    areas = []
    for index in range(5):
        label_map = drawn_images.label_map(index)
        areas += [int((label_map == number).sum()) for number in range(1, label_map.max() + 1)]
    assert sorted(nuclear_areas(subsets.train)) == sorted(areas)
    bundle = load_bundle(packaged[0])
    assert bundle.diameter == pytest.approx(np.median([2 * np.sqrt(area / np.pi) for area in areas]), abs=0.006)
    assert 0 <= bundle.min_area < min(sorted(areas)[len(areas) // 20 :])


def test_openvino_gives_what_keras_gives(packaged, model, images):
    ours, theirs = openvino_output(packaged[0], images), model.predict_on_batch(images)
    assert ours.shape == theirs.shape == (2, 36, 48, 4)
    assert ours.dtype == np.float32
    # The weights are in half precision.
    np.testing.assert_allclose(ours, theirs, atol=2e-2)
    assert np.abs(ours - theirs).mean() < 2e-3
    assert theirs.std() > 0.01


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 64, 20)])
def test_openvino_takes_any_divisible_size(packaged, model, shape):
    images = np.random.default_rng(2).random((*shape, 3), dtype=np.float32)
    np.testing.assert_allclose(openvino_output(packaged[0], images), model.predict_on_batch(images), atol=2e-2)


def test_keras_file_loads_in_safe_mode_without_our_code(packaged, model, images):
    file = packaged[0] / "model.keras"
    loaded = keras.saving.load_model(file, compile=False, safe_mode=True)
    np.testing.assert_allclose(loaded.predict_on_batch(images), model.predict_on_batch(images), atol=1e-5)
    normalising = [layer for layer in loaded.layers if "bn" in layer.name]
    assert normalising and all(type(layer) is keras.layers.BatchNormalization for layer in normalising)
    # Moving statistics went along.
    assert any(np.abs(np.asarray(layer.moving_mean)).max() > 0 for layer in normalising)
    with zipfile.ZipFile(file) as archive:
        description = archive.read("config.json").decode()
    assert "segmentation" not in description
    assert not json.loads(description).get("compile_config")


def test_scores_are_those_of_the_whole_validation_images(packaged, subsets):
    """What `predict_masks.py` makes of the bundle, scored by hand, must give the figures in it."""
    folder, returned = packaged
    bundle = load_bundle(folder)
    scores = bundle.scores
    assert scores == returned
    assert (scores["subset"], scores["images"]) == ("val", 3)
    predictor = open_predictor(bundle)
    dice = []
    for index in range(3):
        pixels = subsets.val.pixels(index).astype(np.float32) / 255
        predicted = predictor.decode(predictor.predict([pixels])[0])
        dice.append(score_image(subsets.val.label_map(index), predicted).dice)
    figure = scores["figures"]["dice"]
    assert figure["value"] == pytest.approx(np.mean(dice), abs=1e-4)
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert 0.2 < figure["value"] < 1
    assert {"dice", "iou", "ap50", "mean_ap", "bowl"} <= scores["figures"].keys()


def test_no_other_threshold_is_better_on_the_validation_images(packaged, subsets):
    bundle = load_bundle(packaged[0])
    gains = {}
    for threshold in THRESHOLDS:
        predictor = open_predictor(bundle, threshold=float(threshold))
        scores = []
        for index in range(3):
            pixels = subsets.val.pixels(index).astype(np.float32) / 255
            predicted = predictor.decode(predictor.predict([pixels])[0])
            scores.append(score_image(subsets.val.label_map(index), predicted))
        matched = np.sum([score.matched for score in scores], axis=0)[:9]
        mean_ap = np.mean(matched / (sum(score.true_nuclei + score.predicted_nuclei for score in scores) - matched))
        gains[float(threshold)] = np.mean([score.dice for score in scores]) + mean_ap
    assert bundle.thresholds.keys() == {"foreground"}
    assert gains[bundle.thresholds["foreground"]] == pytest.approx(max(gains.values()), abs=1e-6)
    assert min(gains.values()) < max(gains.values())


def test_export_reports_to_nobody(tmp_path, config, monkeypatch):
    """OpenVINO's converter sends what it is used for to its makers, from a fork of the process, unless kept from it."""
    telemetry = pytest.importorskip("openvino_telemetry", reason="without it there is nothing to keep from it")
    sent = []
    monkeypatch.setattr(telemetry.main.TelemetrySender, "send", lambda self, *message: sent.append(message))
    monkeypatch.delenv("CI", raising=False)
    # It asks for consent once a process: begin anew.
    monkeypatch.setattr(telemetry.Telemetry, "_SingletonMetaClass__single_instance", None)
    export_model(new_network(config), tmp_path)
    assert sent == []
    assert "CI" not in os.environ


def test_a_process_that_has_predicted_can_export(tmp_path, config, monkeypatch):
    """Prediction imports OpenVINO without its converter."""
    monkeypatch.delattr(openvino, "convert_model")
    export_model(new_network(config), tmp_path)
    assert (tmp_path / "model.xml").exists()


def test_export_replaces_what_was_there(tmp_path, config, images):
    networks = [new_network(config), keras.models.clone_model(new_network(config))]
    networks[1].set_weights([0.5 * weights for weights in networks[0].get_weights()])
    outputs = []
    for network in networks:
        export_model(network, tmp_path)
        outputs.append(openvino_output(tmp_path, images))
        np.testing.assert_allclose(outputs[-1], network.predict_on_batch(images), atol=2e-2)
    assert np.abs(outputs[0] - outputs[1]).max() > 0.05
    assert {file.name for file in tmp_path.iterdir()} == {"model.keras", "model.xml", "model.bin"}


def test_a_failed_export_leaves_the_old_model(tmp_path, config, monkeypatch):
    network = new_network(config)
    export_model(network, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(openvino, "save_model", full)
    with pytest.raises(OSError, match="no space left"):
        export_model(network, tmp_path)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in ("model.xml", "model.bin"))


def test_a_model_that_cannot_be_scored_leaves_the_old_one(tmp_path, model, config, subsets, monkeypatch):
    """A full disk, a kill: until all is written, the folder holds what it held."""
    run = Run(tmp_path, config=config)
    run.begin()
    write_state(run, [{"epoch": 0}])
    for name in ("bundle.json", "model.keras", "split.csv"):
        (tmp_path / name).write_text("old")

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("segmentation.training.export.calibrate", full)
    with pytest.raises(OSError, match="no space left"):
        save_model(model, run, subsets)
    assert {file.name: file.read_text() for file in tmp_path.glob("*.*")} == dict.fromkeys(
        ("bundle.json", "model.keras", "split.csv"), "old"
    )
    assert not (run.checkpoint / "finished").exists()


def test_a_network_with_a_loss_of_its_own_is_saved(tmp_path, model, images):
    """Whatever it was compiled with; only the layers count."""
    from segmentation.training.export import _with_layers_of_keras

    own = keras.Model(model.inputs, model.outputs)
    own.compile("adam", lambda truth, predicted: predicted[..., 0])
    saved = _with_layers_of_keras(own)
    np.testing.assert_allclose(saved.predict_on_batch(images), model.predict_on_batch(images), atol=1e-6)

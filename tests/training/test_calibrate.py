"""The threshold is tested by what `package` writes (test_package.py); here: precisions, and the command."""

import sys
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from segmentation.bundle import Bundle, load_bundle, write_bundle
from segmentation.data.splits import SplitRow, write_split
from segmentation.evaluation.scores import set_figures
from segmentation.instances.targets import TARGETS
from segmentation.prediction.engines import EngineError
from segmentation.prediction.predictor import open_predictor
from segmentation.training import calibrate as module
from segmentation.training.calibrate import LARGEST_LOSS, calibrate, describe
from segmentation.training.export import export_model
from segmentation.training.validation import predict_images, score_images


@pytest.fixture
def bundle(tmp_path):
    """A model that knows nothing but that nuclei are bright."""
    image = keras.Input((None, None, 3))
    brightness = keras.layers.Conv2D(1, 1, activation="sigmoid", name="foreground")
    others = keras.layers.Conv2D(3, 1, name="others")
    network = keras.Model(image, keras.layers.Concatenate()([brightness(image), others(image)]))
    brightness.set_weights([np.full((1, 1, 3, 1), 4.0), np.array([-5.0])])
    others.set_weights([np.zeros((1, 1, 3, 3)), np.array([0.0, 0.0, 3.0])])
    folder = tmp_path / "model"
    folder.mkdir()
    export_model(network, folder)
    write_bundle(
        Bundle(
            folder=folder,
            targets="centre_offsets",
            channels=TARGETS["centre_offsets"].channels,
            normalisation={"lower_percentile": 1.0, "upper_percentile": 99.9},
            diameter=16.0,
            receptive_field_radius=0,
            divisor=1,
            thresholds={"foreground": 0.5},
            min_area=3,
            precisions={"f32": {}},
            training={},
            scores={},
        )
    )
    return load_bundle(folder)


def bf16_that_adds(bias):
    """An `open_predictor` whose bf16 is off by a bias of the foreground."""

    def open_it(bundle, precision=None, **options):
        predictor = open_predictor(bundle, precision="f32", **options)
        if precision != "bf16":
            return predictor
        exact = predictor.engine

        def engine(tiles):
            return exact(tiles) + np.array([bias, 0, 0, 0], np.float32)

        return replace(predictor, engine=engine)

    return open_it


def test_a_harmless_precision_is_validated_and_what_it_costs_recorded(bundle, drawn_images, monkeypatch):
    monkeypatch.setattr(module, "open_predictor", bf16_that_adds(1e-7))
    calibration = calibrate(bundle, drawn_images)
    assert calibration.bundle.precisions == {"f32": {}, "bf16": calibration.losses["bf16"]}
    assert max(calibration.losses["bf16"].values()) < LARGEST_LOSS
    assert "bf16: Dice falls by" in describe(bundle, calibration) and "validated" in describe(bundle, calibration)
    write_bundle(calibration.bundle)
    assert load_bundle(bundle.folder).precisions == calibration.bundle.precisions


def test_a_precision_that_costs_too_much_is_refused_even_if_it_was_validated_before(bundle, drawn_images, monkeypatch):
    monkeypatch.setattr(module, "open_predictor", bf16_that_adds(-0.2))
    before = replace(bundle, precisions={"f32": {}, "bf16": {"dice": 0.0, "mean_ap": 0.0}})
    calibration = calibrate(before, drawn_images)
    assert calibration.bundle.precisions == {"f32": {}}
    assert "refused" in describe(bundle, calibration)

    # The loss is that of label maps made with the same threshold.
    predictor = bf16_that_adds(-0.2)(bundle, precision="bf16", diameter=None)
    decode = partial(
        TARGETS["centre_offsets"].decode, thresholds=calibration.bundle.thresholds, min_area=bundle.min_area
    )
    _, scores = score_images(drawn_images, predict_images(predictor, drawn_images), decode)
    worse, best = set_figures(scores), set_figures(calibration.scores)
    assert calibration.losses["bf16"]["dice"] == pytest.approx(best["dice"] - worse["dice"], abs=1e-5)
    assert calibration.losses["bf16"]["dice"] > LARGEST_LOSS


def without_bf16(bundle, precision=None, **options):
    if precision == "bf16":
        raise EngineError("OpenVINO computes in f32 on this processor")
    return open_predictor(bundle, precision=precision, **options)


def test_on_a_processor_without_bf16_what_was_validated_stays_with_its_threshold(bundle, drawn_images, monkeypatch):
    monkeypatch.setattr(module, "open_predictor", without_bf16)
    calibration = calibrate(bundle, drawn_images)
    assert calibration.losses == {} and calibration.bundle.precisions == {"f32": {}}
    assert "does not compute in it" in describe(bundle, calibration)

    validated = {"f32": {}, "bf16": {"dice": 0.0001, "mean_ap": 0.0}}
    same = replace(calibration.bundle, precisions=validated)
    assert calibrate(same, drawn_images).bundle.precisions == validated
    other = replace(same, thresholds={"foreground": 0.01})
    assert calibrate(other, drawn_images).bundle.precisions == {"f32": {}}


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Call the command; return its status, and what it said on standard output and standard error."""
    monkeypatch.setattr(module, "HERE", tmp_path)  # for the cache

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["calibrate", *map(str, arguments)])
        return module.main(), *capsys.readouterr()

    return call


def test_the_command_writes_what_it_chose(bundle, tmp_path, write_drawn, call):
    write_drawn(tmp_path / "data", 4)
    ids = [f"drawn_{number:02d}" for number in range(4)]
    write_split({i: SplitRow("val" if n else "train") for n, i in enumerate(ids)}, tmp_path / "split.csv")
    options = ["--data", tmp_path / "data", "--split", tmp_path / "split.csv"]
    status, output, errors = call(bundle.folder, *options)
    assert status == 0, errors
    written = load_bundle(bundle.folder)
    assert f"threshold of the foreground: {written.thresholds['foreground']:g} (was 0.5)" in output
    assert written.scores["images"] == 3 and written.files == bundle.files
    assert f"dice     {written.scores['figures']['dice']['value']:.4f}" in output

    status, _, errors = call(tmp_path / "nowhere", *options)
    assert status == 2 and errors.startswith("calibrate: ") and str(tmp_path / "nowhere") in errors

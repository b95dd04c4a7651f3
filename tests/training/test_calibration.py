"""The threshold is tested by what `package` writes (test_package.py); here: precisions."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from segmentation.bundle import load_bundle, write_bundle
from segmentation.evaluation.scores import set_figures
from segmentation.prediction.engines import EngineError, open_engine
from segmentation.prediction.predictor import open_predictor
from segmentation.targets.encodings import ENCODINGS
from segmentation.training import calibration as module
from segmentation.training.calibration import LARGEST_LOSS, calibrate, describe
from segmentation.training.validation import predict_images, score_images


class Biased:
    """An engine whose foreground is off by a bias."""

    precision = "bf16"

    def __init__(self, exact, bias):
        self.name, self.version = exact.name, exact.version
        self.streams, self.batch_pixels = exact.streams, exact.batch_pixels
        self._exact = exact
        self._bias = np.array([bias, 0, 0, 0], np.float32)

    def __call__(self, tiles):
        return self._exact(tiles) + self._bias


def bf16_that_adds(bias):
    """An `open_engine` that has such a bf16."""

    def open_it(bundle, precision=None):
        exact = open_engine(bundle, precision="f32")
        return Biased(exact, bias) if precision == "bf16" else exact

    return open_it


def test_a_harmless_precision_is_validated_and_what_it_costs_recorded(bright_bundle, drawn_images, monkeypatch):
    monkeypatch.setattr(module, "open_engine", bf16_that_adds(1e-7))
    calibration = calibrate(bright_bundle, drawn_images)
    assert calibration.bundle.precisions == {"f32": {}, "bf16": calibration.losses["bf16"]}
    assert max(calibration.losses["bf16"].values()) < LARGEST_LOSS
    assert "bf16: Dice falls by" in describe(bright_bundle, calibration) and "validated" in describe(
        bright_bundle, calibration
    )
    write_bundle(calibration.bundle)
    assert load_bundle(bright_bundle.folder).precisions == calibration.bundle.precisions


def test_a_precision_that_costs_too_much_is_refused_even_if_it_was_validated_before(
    bright_bundle, drawn_images, monkeypatch
):
    monkeypatch.setattr(module, "open_engine", bf16_that_adds(-0.2))
    before = replace(bright_bundle, precisions={"f32": {}, "bf16": {"dice": 0.0, "mean_ap": 0.0}})
    calibration = calibrate(before, drawn_images)
    assert calibration.bundle.precisions == {"f32": {}}
    assert "refused" in describe(bright_bundle, calibration)

    # The loss is that of label maps made with the same threshold.
    engine = bf16_that_adds(-0.2)(bright_bundle, precision="bf16")
    predictor = open_predictor(bright_bundle, engine, diameter=None)
    decode = partial(
        ENCODINGS["centre_offsets"].find_nuclei,
        thresholds=calibration.bundle.thresholds,
        min_area=bright_bundle.min_area,
    )
    _, scores = score_images(drawn_images, predict_images(predictor, drawn_images), decode)
    worse, best = set_figures(scores), set_figures(calibration.scores)
    assert calibration.losses["bf16"]["dice"] == pytest.approx(best["dice"] - worse["dice"], abs=1e-5)
    assert calibration.losses["bf16"]["dice"] > LARGEST_LOSS


def without_bf16(bundle, precision=None):
    if precision == "bf16":
        raise EngineError("OpenVINO computes in f32 on this processor")
    return open_engine(bundle, precision=precision)


def test_on_a_processor_without_bf16_what_was_validated_stays_with_its_threshold(
    bright_bundle, drawn_images, monkeypatch
):
    monkeypatch.setattr(module, "open_engine", without_bf16)
    calibration = calibrate(bright_bundle, drawn_images)
    assert calibration.losses == {} and calibration.bundle.precisions == {"f32": {}}
    assert "does not compute in it" in describe(bright_bundle, calibration)

    validated = {"f32": {}, "bf16": {"dice": 0.0001, "mean_ap": 0.0}}
    same = replace(calibration.bundle, precisions=validated)
    assert calibrate(same, drawn_images).bundle.precisions == validated
    other = replace(same, thresholds={"foreground": 0.01})
    assert calibrate(other, drawn_images).bundle.precisions == {"f32": {}}

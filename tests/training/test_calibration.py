"""The threshold that is chosen, the scores, and the precisions."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from segmentation.bundle import load_bundle, write_bundle
from segmentation.data.splits import SplitRow
from segmentation.evaluation.scores import set_figures
from segmentation.prediction.engines import EngineError, open_engine
from segmentation.prediction.opening import open_predictor
from segmentation.targets.encodings import ENCODINGS
from segmentation.training import calibration as module
from segmentation.training.calibration import (
    LARGEST_LOSS,
    calibrate,
    choose_threshold,
    describe,
    predict_images,
    score_images,
    summarise,
)

pytestmark = pytest.mark.slow


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
    calibration = calibrate(bright_bundle, drawn_images, drawn_images)
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
    calibration = calibrate(before, drawn_images, drawn_images)
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
    calibration = calibrate(bright_bundle, drawn_images, drawn_images)
    assert calibration.losses == {} and calibration.bundle.precisions == {"f32": {}}
    assert "does not compute in it" in describe(bright_bundle, calibration)

    validated = {"f32": {}, "bf16": {"dice": 0.0001, "mean_ap": 0.0}}
    same = replace(calibration.bundle, precisions=validated)
    assert calibrate(same, drawn_images, drawn_images).bundle.precisions == validated
    other = replace(same, thresholds={"foreground": 0.01})
    assert calibrate(other, drawn_images, drawn_images).bundle.precisions == {"f32": {}}


@pytest.fixture(scope="module")
def validation(drawn_images):
    """Three images."""
    return drawn_images.select(dict.fromkeys(drawn_images.ids[5:], SplitRow("val")))


@pytest.mark.parametrize("best", [0.35, 0.5, 0.8])
def test_threshold_is_found_where_the_truth_is(validation, best):
    """A network that is sure of the nuclei, unsure of what lies around them up to just below the threshold."""
    channels = []
    for index in range(3):
        inside = validation.label_map(index) > 0
        channels.append(np.where(inside, best + 0.01, best - 0.01)[..., None].astype(np.float32))

    asked = iter(range(10**6))

    def decode(predicted, thresholds):
        number = next(asked) % 3
        above = predicted[..., 0] > thresholds["foreground"]
        return np.where(above, np.maximum(validation.label_map(number), 1), 0)

    assert choose_threshold(validation, channels, decode) == pytest.approx(best)


@pytest.mark.parametrize("foreground", [0.05, 0.2, 0.5, 0.8])
def test_noise_is_not_decoded_to_find_its_threshold(in_memory, foreground):
    """It would take longer than a short training; also of dense data, and with an empty image among them."""
    rng = np.random.default_rng(0)
    blank = np.zeros((64, 64, 3), np.uint8)
    truths = [(rng.random((64, 64)) < foreground).astype(np.int32), np.zeros((64, 64), np.int32)]
    images = in_memory([(blank, truth, "fluorescence") for truth in truths])
    channels = [rng.uniform(0.3, 0.7, (64, 64, 1)).astype(np.float32) for _ in truths]

    def decode(predicted, thresholds):
        raise AssertionError("decoded")

    # The more is taken for foreground, the better.
    assert choose_threshold(images, channels, decode) == pytest.approx(0.3)


def test_dice_of_each_kind(validation):
    """Perfect on all images but the last, where nothing is found."""
    channels = [validation.label_map(0), validation.label_map(1), 0 * validation.label_map(2)]
    label_maps, scores = score_images(validation, channels, lambda predicted: predicted)
    assert [score.dice for score in scores] == [1, 1, 0]
    kinds = validation.kinds
    expected = {kind: np.mean([s for k, s in zip(kinds, [1, 1, 0], strict=True) if k == kind]) for kind in set(kinds)}
    summary = summarise(validation, scores)
    assert summary["figures"]["dice"]["low"] < summary["figures"]["dice"]["high"]
    assert summary["dice_by_kind"] == pytest.approx(expected, abs=1e-4)
    assert summary["figures"]["dice"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    np.testing.assert_array_equal(label_maps[0], validation.label_map(0))


def test_one_image_gives_no_interval(validation):
    """Nor do several of one field: they tell nothing about others."""
    one = validation.select({validation.ids[0]: SplitRow("val")})
    field = validation.select(dict.fromkeys(validation.ids, SplitRow("val", group="a")))
    for images in (one, field):
        label_maps = [images.label_map(index) for index in range(len(images))]
        _, scores = score_images(images, label_maps, lambda predicted: predicted)
        assert all(figure.keys() == {"value"} for figure in summarise(images, scores)["figures"].values())

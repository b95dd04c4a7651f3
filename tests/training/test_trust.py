from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from segmentation.bundle import load_bundle, write_bundle
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.trust import Trust
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.trust import describe_images, describe_trust, fit_logistic, fit_trust, observe, with_trust

ENCODING = ENCODINGS["centre_offsets"]


def test_the_fit_finds_the_coefficients_that_made_the_data():
    rng = np.random.default_rng(0)
    features = {"one": rng.normal(3, 2, 20_000), "other": rng.normal(-1, 0.1, 20_000)}
    truth = rng.random(20_000) < expit(-2 + 0.7 * features["one"] + 3 * features["other"])
    fitted = fit_logistic(features, truth.astype(float), np.ones(20_000), ridge=1.0)
    assert fitted["weights"] == pytest.approx({"one": 0.7, "other": 3}, rel=0.1)
    assert fitted["bias"] == pytest.approx(-2, abs=0.4)


def test_no_feature_lowers_the_score():
    rng = np.random.default_rng(1)
    bad = rng.normal(0, 1, 500)
    fitted = fit_logistic({"bad": bad, "constant": np.ones(500)}, expit(-bad), np.ones(500), ridge=1.0)
    assert fitted["weights"] == {"bad": 0, "constant": 0}
    # Without features, the best constant is the mean.
    assert expit(fitted["bias"]) == pytest.approx(expit(-bad).mean(), abs=1e-3)


def observations(count, quality):
    """Squares found with a shift that grows as the probability falls."""
    made = []
    for index in range(count):
        truth, labels = np.zeros((2, 200, 200), np.int32)
        rng = np.random.default_rng(index)
        channels = np.zeros((200, 200, 4), np.float32)
        for label, (row, column) in enumerate(np.ndindex(4, 4), 1):
            doubt = rng.random() * quality
            shift = round(10 * doubt)
            there = np.s_[50 * row + 10 : 50 * row + 30, 50 * column + 10 : 50 * column + 30]
            here = np.s_[50 * row + 10 + shift : 50 * row + 30 + shift, 50 * column + 10 : 50 * column + 30]
            truth[there], labels[here] = label, label
            channels[here] = ENCODING.encode((labels == label).astype(np.int32))[here]
            channels[here][..., 0] = 0.99 - 0.4 * doubt
        made.append(observe(channels, labels, truth, ENCODING))
    return made


def test_scores_are_the_expected_ious():
    trust = fit_trust(observations(8, 1.0), {"sharpness": {}, "diameter": [1, 2], "stains": [[0, 0, 0]]}, ENCODING)
    fresh = observations(12, 1.0)[8:]
    ious = np.concatenate([one.ious for one in fresh])
    scores = np.concatenate([Trust(ENCODING, **trust).scores(one.evidence) for one in fresh])
    assert np.abs(scores - ious).mean() < 0.08 and np.corrcoef(scores, ious)[0, 1] > 0.95


def test_too_few_nuclei_give_no_coefficients():
    assert fit_trust(observations(1, 1.0), {}, ENCODING) == {}
    assert fit_trust([], {}, ENCODING) == {}


@pytest.mark.slow
def test_a_bundle_with_coefficients_finds_the_same_nuclei_and_scores_them(bright_bundle, drawn_images):
    write_bundle(with_trust(bright_bundle, drawn_images, drawn_images))
    bundle = load_bundle(bright_bundle.folder)
    assert bundle.digest == bright_bundle.digest and replace(bundle, trust={}) == replace(bright_bundle, trust={})
    assert "score of a nucleus" in describe_trust(bundle) and "no scores" in describe_trust(bright_bundle)
    prepared = drawn_images.pixels(0).astype(np.float32) / 255
    before, after = (
        open_predictor(one).predict_at_best([prepared])[0].find(prepared) for one in (bright_bundle, bundle)
    )
    np.testing.assert_array_equal(before.labels, after.labels)
    assert before.scores is None and before.verdict is None
    assert after.scores.shape == (after.labels.max(),) and 0 < after.scores.min() and after.scores.max() < 1
    assert 0 < after.verdict.dice < 1 and 0 < after.verdict.ap50 < 1


def test_images_of_the_training_are_like_themselves(drawn_images):
    seen = describe_images([drawn_images])
    assert seen["sharpness"].keys() == {"fluorescence", "stained"}
    diameters = [np.median(np.sqrt(np.bincount(drawn_images.label_map(i).ravel())[1:] * 4 / np.pi)) for i in range(8)]
    assert min(diameters) <= seen["diameter"][0] <= seen["diameter"][1] <= max(diameters)
    assert 2 <= len(seen["stains"]) <= 8

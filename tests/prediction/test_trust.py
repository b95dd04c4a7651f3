import numpy as np
import pytest

from segmentation.prediction.appearance import Appearance, look_at
from segmentation.prediction.trust import Trust
from segmentation.targets.encodings import ENCODINGS
from tests.prediction.trusting import TRUST

ENCODING = ENCODINGS["foreground"]
USUAL = Appearance("fluorescence", (0.0, 0.0, 0.12), 0.4)


def evidence(*nuclei):
    """Evidence of nuclei given as (area, probability)."""
    return dict(zip(("area", "probability"), np.array(nuclei, float).reshape(-1, 2).T, strict=True))


def trust(**options):
    return Trust(ENCODING, **TRUST, **options)


def test_a_score_is_the_logistic_function_of_the_features():
    scores = trust().scores(evidence((64 * np.pi, 0.9), (16 * np.pi, 0.99)))
    totals = -1 - 0.5 * np.log([0.1, 0.01]) + 0.25 * np.array([3, 2])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-totals)))


def test_a_verdict_follows_from_the_mean_score():
    one = evidence((64 * np.pi, 0.9))
    (score,) = trust().scores(one)
    verdict = trust().judge(one, USUAL, 1, "as it is")
    assert trust().expected_ap50(one) == verdict.ap50
    assert trust().expected_ap50(evidence()) == 0
    assert verdict.dice == pytest.approx(score)
    assert verdict.ap50 == pytest.approx(1 / (1 + np.exp(1 - np.log(score / (1 - score)) + 0.5 * np.log(0.1))))
    assert verdict.unlike == ""
    rounded = {"dice": round(verdict.dice, 4), "ap50": round(verdict.ap50, 4)}
    assert verdict.as_dict() == rounded | {"unlike": "", "view": "as it is"}


@pytest.mark.parametrize(
    ("appearance", "nuclei", "scale", "reason"),
    [
        (USUAL, [], 1, "nothing was found"),
        (USUAL, [(4, 0.9)], 1, "the nuclei are smaller"),
        (USUAL, [(100, 0.9)], 10, "the nuclei are larger"),
        (Appearance("fluorescence", (0.0, 0.0, 0.12), 0.05), [(100, 0.9)], 1, "it is less sharp"),
        (Appearance("fluorescence", (0.0, 0.0, 0.12), 2.0), [(100, 0.9)], 1, "it has more noise or finer detail"),
        (Appearance("fluorescence", (0.0, 0.0, 0.42), 0.4), [(100, 0.9)], 1, "it has another stain or background"),
        (
            Appearance("fluorescence", (0.3, 0.0, 0.12), 0.4),
            [(100, 0.9)],
            1,
            "it shows several channels in colours, of which --channel takes one",
        ),
        (Appearance("stained", (0.1, 0.2, 0.7), 0.4), [(100, 0.9)], 1, "no stained image was trained on"),
    ],
)
def test_what_is_unlike_the_training_images_is_said_in_a_sentence(appearance, nuclei, scale, reason):
    verdict = trust().judge(evidence(*nuclei), appearance, scale, "as it is")
    assert verdict.unlike == f"Unlike the training images: {reason}."
    assert (verdict.dice is None) == (not nuclei)


def test_nuclei_with_too_low_a_score_are_dropped_and_the_others_numbered_anew():
    labels = np.repeat(np.array([[0, 1, 2, 3]], np.int32), 4, axis=0)
    channels = np.repeat(np.array([[[0.0], [0.9], [0.6], [0.99]]], np.float32), 4, axis=0)
    prepared = np.zeros((4, 4, 3), np.float32)
    whole = trust().find(labels, channels, prepared, 1.0, "as it is")
    assert whole.labels is labels and whole.scores.argsort().tolist() == [1, 0, 2]
    found = trust(min_score=float(whole.scores[0])).find(labels, channels, prepared, 1.0, "as it is")
    assert found.labels[0].tolist() == [0, 1, 0, 2] and found.labels.dtype == np.int32
    np.testing.assert_array_equal(found.scores, whole.scores[[0, 2]])
    assert found.verdict == whole.verdict
    none = trust(min_score=0.999).find(labels, channels, prepared, 1.0, "as it is")
    assert not none.labels.any() and none.scores.shape == (0,)


def test_the_look_of_a_picture():
    rng = np.random.default_rng(0)
    page = np.ones((200, 300, 3), np.float32) * (0.8, 0.5, 0.7) + rng.normal(0, 0.02, (200, 300, 1))
    look = look_at(page.astype(np.float32))
    assert look.kind == "stained"
    assert look.stain == pytest.approx((0.3, 0.2, 0.5), abs=0.01)
    # The Laplacian of independent noise has the variance 1 + 1 + 1 + 1 + 16.
    assert look.sharpness == pytest.approx(np.sqrt(20), rel=0.03)
    assert look_at(np.zeros((3, 3, 3), np.float32)).sharpness == 0

import numpy as np
import pytest

from data.draw_samples import draw_fluorescence
from segmentation.targets.centre_offsets import OFFSET_SCALE
from segmentation.targets.encodings import ENCODINGS
from segmentation.targets.evidence import feature_names, features_of, gather_evidence, image_features

CENTRE_OFFSETS = ENCODINGS["centre_offsets"]


@pytest.fixture(scope="module")
def labels():
    return draw_fluorescence(np.random.default_rng(1), (120, 140))[1].astype(np.int32)


def test_it_is_what_a_loop_over_the_nuclei_measures(labels):
    rng = np.random.default_rng(2)
    channels = CENTRE_OFFSETS.encode(labels) + rng.normal(0, 0.2, (*labels.shape, 4)).astype(np.float32)
    evidence = gather_evidence(channels, labels, CENTRE_OFFSETS)
    for label in range(1, labels.max() + 1):
        place = np.argwhere(labels == label)
        own = channels[labels == label].astype(float)
        votes = place + own[:, 1:3] * OFFSET_SCALE
        expected = {
            "area": len(place),
            "probability": own[:, 0].mean(),
            "vote_spread": np.sqrt(votes.var(axis=0).sum()),
            "log_radius": own[:, 3].mean(),
            "radius_spread": own[:, 3].std(),
        }
        assert {name: values[label - 1] for name, values in evidence.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=lambda encoding: encoding.name)
def test_a_worse_prediction_has_worse_features(labels, encoding):
    exact = encoding.encode(labels)
    doubtful = exact.copy()
    doubtful[..., 0] *= 0.8
    doubtful[..., 1:] += np.random.default_rng(3).normal(0, 0.5, doubtful[..., 1:].shape)
    if encoding.log_lengths:
        doubtful[..., encoding.log_lengths[0]] += 1
    sure, unsure = (features_of(gather_evidence(channels, labels, encoding)) for channels in (exact, doubtful))
    assert tuple(sure) == tuple(unsure) == feature_names(encoding)
    for name in sure.keys() - {"typical", "size"}:
        assert (sure[name] > unsure[name]).all(), name
    np.testing.assert_array_equal(sure["size"], np.log2(np.bincount(labels.ravel())[1:] / np.pi) / 2)


def test_typical_is_the_size_of_most():
    labels = np.zeros((40, 80), np.int32)
    for label, side in enumerate((8, 8, 8, 16), 1):
        labels[4 : 4 + side, 20 * label - 18 : 20 * label - 18 + side] = label
    features = features_of(gather_evidence(CENTRE_OFFSETS.encode(labels), labels, CENTRE_OFFSETS))
    np.testing.assert_allclose(features["typical"], [0, 0, 0, -1], atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_picture_without_nuclei_has_no_evidence():
    evidence = gather_evidence(np.zeros((5, 7, 4), np.float32), np.zeros((5, 7), np.int32), CENTRE_OFFSETS)
    assert all(values.shape == (0,) for values in [*evidence.values(), *features_of(evidence).values()])


def test_features_of_a_picture_are_means(labels):
    evidence = gather_evidence(CENTRE_OFFSETS.encode(labels) * 0.9, labels, CENTRE_OFFSETS)
    features = image_features(evidence, np.array([0.2, 0.6]))
    assert features["score"] == pytest.approx(np.log(0.4 / 0.6))
    assert features["certainty"] == pytest.approx(-np.log(0.1), rel=1e-5)

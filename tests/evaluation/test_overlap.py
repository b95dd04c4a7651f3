import numpy as np
import pytest

from segmentation.evaluation import overlap as module
from segmentation.evaluation.overlap import overlap


def random_labels(rng, shape, highest):
    """A label map of rectangles with gaps in the numbering."""
    labels = np.zeros(shape, np.int64)
    for label in rng.integers(1, highest + 1, 12):
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        labels[top : top + rng.integers(1, 15), left : left + rng.integers(1, 15)] = label
    return labels


def brute_force(truth, prediction):
    pairs = {}
    for t in np.unique(truth[truth > 0]):
        for p in np.unique(prediction[prediction > 0]):
            shared = ((truth == t) & (prediction == p)).sum()
            if shared:
                pairs[t, p] = shared / ((truth == t) | (prediction == p)).sum()
    return pairs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("band", [1, 100, 1 << 22])
def test_equals_brute_force(seed, band, monkeypatch):
    monkeypatch.setattr(module, "_BAND_PIXELS", band)
    rng = np.random.default_rng(seed)
    truth, prediction = random_labels(rng, (40, 37), 50), random_labels(rng, (40, 37), 4_000_000_000)
    found = overlap(truth, prediction.astype(np.uint32))
    true_labels, predicted_labels = np.unique(truth[truth > 0]), np.unique(prediction[prediction > 0])
    assert found.true_areas.tolist() == [(truth == t).sum() for t in true_labels]
    assert found.predicted_areas.tolist() == [(prediction == p).sum() for p in predicted_labels]
    keys = zip(true_labels[found.true_index], predicted_labels[found.predicted_index], strict=True)
    assert dict(zip(keys, found.iou(), strict=True)) == brute_force(truth, prediction)


def test_without_background_and_without_nuclei():
    full, empty = np.full((3, 4), 7), np.zeros((3, 4), int)
    found = overlap(full, full)
    assert found.true_areas.tolist() == found.predicted_areas.tolist() == found.shared.tolist() == [12]
    assert overlap(full, empty).true_areas.tolist() == [12]
    assert len(overlap(full, empty).predicted_areas) == len(overlap(empty, empty).shared) == 0


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_no_pixels(shape):
    found = overlap(np.zeros(shape, int), np.zeros(shape, int))
    assert len(found.true_areas) == len(found.predicted_areas) == len(found.shared) == 0


def test_bool_masks_are_one_nucleus():
    mask = np.array([[True, False, True]])
    assert overlap(mask, mask).shared.tolist() == [2]


@pytest.mark.parametrize(
    ("truth", "prediction", "sentence"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "equal shapes"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "truth is a float64 array"),
        (np.zeros((2, 3), int), np.zeros((2, 3, 1), int), "prediction is a int64 array of shape"),
        (np.zeros((2, 3), int), np.full((2, 3), -1), "negative"),
    ],
)
def test_refuses_what_is_no_pair_of_label_maps(truth, prediction, sentence):
    with pytest.raises(ValueError, match=sentence):
        overlap(truth, prediction)

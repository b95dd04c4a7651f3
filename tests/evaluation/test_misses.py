import numpy as np
import pytest

from segmentation.evaluation.misses import REASONS, count_misses
from segmentation.evaluation.overlap import overlap


def bars(*lengths_and_labels):
    """A picture one pixel high, of runs of labels."""
    return np.concatenate([np.full(length, label) for length, label in lengths_and_labels])[None]


def by_loop(truth, prediction):
    """The definitions, word for word."""
    counts = dict.fromkeys(REASONS, 0)
    predicted = [prediction == label for label in np.unique(prediction[prediction > 0])]
    nuclei = [truth == label for label in np.unique(truth[truth > 0])]
    for index, nucleus in enumerate(nuclei):
        area = nucleus.sum()
        shared = [(nucleus & other).sum() for other in predicted]
        if any(s / (nucleus | other).sum() > 0.5 for s, other in zip(shared, predicted, strict=True)):
            continue
        covered = sum(shared)
        if covered < 0.3 * area:
            counts["not seen"] += 1
            continue
        best = max(range(len(shared)), key=lambda index: (shared[index], index))  # of equals the last
        others = [n for i, n in enumerate(nuclei) if i != index]
        if shared[best] > 0.5 * area and any((n & predicted[best]).sum() > 0.3 * n.sum() for n in others):
            counts["fused with another"] += 1
        elif shared[best] < 0.6 * covered:
            counts["split"] += 1
        else:
            counts["outline"] += 1
    return tuple(counts.values())


@pytest.mark.parametrize("seed", range(30))
def test_equals_a_loop_over_the_definitions(seed):
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 3, 60) * np.arange(1, 61), rng.integers(1, 20, 60))[None]
    prediction = np.repeat(rng.integers(0, 3, 60) * np.arange(1, 61), rng.integers(1, 20, 60))[None]
    width = min(truth.shape[1], prediction.shape[1])
    truth, prediction = truth[:, :width], prediction[:, :width]
    counts = count_misses(overlap(truth, prediction))
    assert counts == by_loop(truth, prediction)
    assert sum(counts) > 0


@pytest.mark.parametrize(
    "reason, truth, prediction",
    [
        ("not seen", [(10, 0), (10, 1)], [(18, 0), (2, 7)]),
        ("not seen", [(10, 1)], [(10, 0)]),
        ("fused with another", [(10, 1), (30, 2)], [(40, 5)]),
        ("split", [(40, 1)], [(20, 1), (20, 2)]),
        ("outline", [(10, 1), (30, 0)], [(40, 9)]),
        ("outline", [(40, 1)], [(16, 3), (24, 0)]),
    ],
)
def test_one_of_each(reason, truth, prediction):
    counts = dict(zip(REASONS, count_misses(overlap(bars(*truth), bars(*prediction))), strict=True))
    assert counts == dict.fromkeys(REASONS, 0) | {reason: 1}


def test_the_larger_of_two_fused_is_matched_if_the_other_is_small():
    counts = count_misses(overlap(bars((30, 1), (10, 2)), bars((40, 1))))
    assert counts == (0, 1, 0, 0)


def test_nothing_is_missed_where_all_match_or_nothing_is_true():
    labels = bars((10, 1), (5, 0), (10, 2))
    assert count_misses(overlap(labels, 3 * labels)) == (0, 0, 0, 0)
    assert count_misses(overlap(0 * labels, labels)) == (0, 0, 0, 0)
    assert count_misses(overlap(0 * labels, 0 * labels)) == (0, 0, 0, 0)
    assert count_misses(overlap(labels, 0 * labels)) == (2, 0, 0, 0)

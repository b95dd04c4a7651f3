import numpy as np
import pytest

from segmentation.evaluation.scores import IOU_THRESHOLDS, score_image, set_figures


def disks(rng, count, shape=(80, 90)):
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label in range(1, count + 1):
        centre = rng.uniform(0, shape)
        labels[np.hypot(y - centre[0], x - centre[1]) < rng.uniform(3, 9)] = label
    return labels


def pairs_of(seed, count=6):
    """Truths and predictions that are displaced, in part missing, with a few false ones."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        truth = disks(rng, 10)
        prediction = np.roll(truth, rng.integers(-2, 3, 2), (0, 1))
        prediction[prediction == rng.integers(1, 11)] = 0
        prediction[:6, :6] = 99
        pairs.append((truth, prediction))
    return pairs


def brute_force(pairs):
    """All figures by masks, one nucleus at a time; matches are taken one to one."""
    dice, iou, inter, true_sum, predicted_sum = [], [], 0, 0, 0
    counts = np.zeros((len(pairs), 10, 3))
    for i, (truth, prediction) in enumerate(pairs):
        a, b = truth > 0, prediction > 0
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        iou.append((a & b).sum() / (a | b).sum())
        inter, true_sum, predicted_sum = inter + (a & b).sum(), true_sum + a.sum(), predicted_sum + b.sum()
        true_masks = [truth == t for t in np.unique(truth) if t]
        predicted_masks = [prediction == p for p in np.unique(prediction) if p]
        for j, threshold in enumerate(IOU_THRESHOLDS):
            free, tp = list(range(len(predicted_masks))), 0
            for mask in true_masks:
                for k in free:
                    other = predicted_masks[k]
                    if (mask & other).sum() / (mask | other).sum() > threshold:
                        tp += 1
                        free.remove(k)
                        break
            counts[i, j] = tp, len(predicted_masks) - tp, len(true_masks) - tp
    pooled = counts[..., 0].sum(0) / counts.sum((0, 2))
    return {
        "dice": np.mean(dice),
        "iou": np.mean(iou),
        "dice_pooled": 2 * inter / (true_sum + predicted_sum),
        "iou_pooled": inter / (true_sum + predicted_sum - inter),
        **{f"ap{t}": pooled[i] for i, t in enumerate(range(50, 100, 5))},
        "mean_ap": pooled[:9].mean(),
        "bowl": (counts[..., 0] / counts.sum(2)).mean(),
    }


@pytest.mark.parametrize("seed", range(4))
def test_equals_brute_force(seed):
    pairs = pairs_of(seed)
    figures = set_figures([score_image(t, p) for t, p in pairs])
    expected = brute_force(pairs)
    assert figures.keys() == expected.keys()
    assert figures == pytest.approx(expected, abs=1e-12)
    assert 0.1 < figures["mean_ap"] < 0.9


def test_single_image_is_its_own_mean():
    score = score_image(*pairs_of(5)[0])
    figures = set_figures([score])
    assert figures["dice"] == figures["dice_pooled"] == score.dice
    assert figures["bowl"] == pytest.approx(score.bowl)
    assert [figures[f"ap{t}"] for t in range(50, 100, 5)] == score.average_precision.tolist()


def test_displaced_square_has_the_iou_of_geometry():
    truth, prediction = np.zeros((40, 40), int), np.zeros((40, 40), int)
    truth[10:30, 10:30], prediction[10:30, 14:34] = 1, 1
    score = score_image(truth, prediction)
    assert score.iou == 16 / 24
    assert score.dice == 16 / 20
    assert score.matched == (1, 1, 1, 1, 0, 0, 0, 0, 0, 0)  # 0.667 is above 0.65


@pytest.mark.parametrize(("shared", "matched"), [(11, 1), (12, 2)])
def test_threshold_is_strict(shared, matched):
    # 11 of 20 pixels: an IoU of 0.55 exactly, which matches at 0.50 but not at 0.55.
    truth = np.ones((1, 20), int)
    prediction = np.zeros((1, 20), int)
    prediction[0, :shared] = 3
    assert sum(score_image(truth, prediction).matched) == matched


def test_empty_on_both_sides_is_perfect():
    empty = np.zeros((5, 5), int)
    score = score_image(empty, empty)
    assert (score.dice, score.iou, score.bowl) == (1, 1, 1)
    assert score.average_precision.tolist() == [1] * 10
    assert set(set_figures([score]).values()) == {1.0}


@pytest.mark.parametrize("swap", [False, True])
def test_empty_on_one_side_scores_nothing(swap):
    pair = [np.zeros((5, 5), int), np.ones((5, 5), int)]
    score = score_image(*(pair[::-1] if swap else pair))
    assert (score.dice, score.iou, score.bowl) == (0, 0, 0)
    assert set(set_figures([score]).values()) == {0.0}


def test_an_empty_image_counts_in_means_but_not_in_pooled_figures():
    some, empty = score_image(*pairs_of(1)[0]), score_image(np.zeros((3, 3), int), np.zeros((3, 3), int))
    alone, both = set_figures([some]), set_figures([some, empty])
    assert both["mean_ap"] == alone["mean_ap"]
    assert both["dice_pooled"] == alone["dice_pooled"]
    assert both["dice"] == pytest.approx((alone["dice"] + 1) / 2)
    assert both["bowl"] == pytest.approx((alone["bowl"] + 1) / 2)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="at least one image"):
        set_figures([])

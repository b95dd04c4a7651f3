import numpy as np
import pytest

from segmentation.evaluation import intervals
from segmentation.evaluation.intervals import Interval, bootstrap
from segmentation.evaluation.scores import ImageScore, set_figures


def scores_of(seed, count, quality=0.6):
    """Scores with plausible counts, better the higher `quality` is."""
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(count):
        true, predicted = rng.integers(0, 30, 2)
        matched = np.sort(rng.binomial(min(true, predicted), quality, 10))[::-1]
        pixels = rng.integers(1, 1000, 2)
        scores.append(
            ImageScore(
                *pixels, int(pixels.min() * quality), true, predicted, tuple(matched), (true - matched[0], 0, 0, 0)
            )
        )
    return scores


def draw_by_draw(scores, groups, seed, draws):
    """The bootstrap as a loop over lists of images."""
    members = {}
    for score, group in zip(scores, groups, strict=True):
        members.setdefault(group, []).append(score)
    members = list(members.values())
    rng = np.random.default_rng(seed)
    figures = [
        set_figures([s for i in rng.integers(0, len(members), len(members)) for s in members[i]]) for _ in range(draws)
    ]
    return {name: np.percentile([f[name] for f in figures], [2.5, 97.5]) for name in figures[0]}


@pytest.mark.parametrize("block", [1, 70, 10_000_000])
def test_equals_a_loop_over_draws(block, monkeypatch):
    monkeypatch.setattr(intervals, "_BLOCK_NUMBERS", block)
    scores, groups = scores_of(1, 20), [str(i % 7) for i in range(20)]
    figures = bootstrap(scores, groups, seed=4, draws=60)
    expected = draw_by_draw(scores, groups, 4, 60)
    values = set_figures(scores)
    for name, figure in figures.items():
        assert figure.value == pytest.approx(values[name])
        assert (figure.low, figure.high) == pytest.approx(expected[name])


def test_interval_of_a_mean_is_that_of_the_normal_law():
    # For the mean of n numbers the interval is near mean +- 1.96 sd / sqrt(n).
    scores = scores_of(2, 400)
    figure = bootstrap(scores, range(400))["dice"]
    dice = np.array([s.dice for s in scores])
    half = 1.96 * dice.std() / 20
    assert figure.low == pytest.approx(dice.mean() - half, abs=0.1 * half)
    assert figure.high == pytest.approx(dice.mean() + half, abs=0.1 * half)


def test_groups_of_equal_images_widen_the_interval():
    scores = [score for score in scores_of(3, 25) for _ in range(4)]
    by_image = bootstrap(scores, range(100))["dice"]
    by_group = bootstrap(scores, np.repeat(np.arange(25), 4).tolist())["dice"]
    assert by_group.value == pytest.approx(by_image.value)
    assert by_group.high - by_group.low > 1.6 * (by_image.high - by_image.low)


def test_one_group_has_no_width():
    figure = bootstrap(scores_of(4, 5), ["a"] * 5)["mean_ap"]
    assert figure == Interval(figure.value, figure.value, figure.value)


def test_pairs_of_equal_predictions_do_not_differ():
    scores = scores_of(5, 30)
    assert set(bootstrap(scores, range(30), minus=scores).values()) == {Interval(0, 0, 0)}


def test_pairing_finds_a_small_but_steady_difference():
    better = scores_of(6, 40)
    worse = [ImageScore(*(*vars(s).values(),)[:2], s.shared_pixels * 0.97, *(*vars(s).values(),)[3:]) for s in better]
    difference = bootstrap(better, range(40), minus=worse)["dice"]
    alone = bootstrap(better, range(40))["dice"]
    assert 0 < difference.low < difference.value < difference.high
    assert difference.high - difference.low < 0.1 * (alone.high - alone.low)
    reverse = bootstrap(worse, range(40), minus=better)["dice"]
    assert (reverse.value, reverse.low) == pytest.approx((-difference.value, -difference.high))


def test_number_of_groups_must_be_that_of_images():
    with pytest.raises(ValueError, match="2 groups for 3 images"):
        bootstrap(scores_of(7, 3), ["a", "b"])

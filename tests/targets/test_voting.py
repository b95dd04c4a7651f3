import numpy as np
import pytest

from segmentation.targets import voting
from segmentation.targets.voting import gather_votes

pytestmark = pytest.mark.slow

MERGE_DISTANCE, MIN_VOTES = 0.6, 0.3


def gather(heaps, shape=(40, 60), merge_distance=MERGE_DISTANCE, min_votes=MIN_VOTES):
    """Gather heaps given as (row, column, number of votes, radius); return the label of each heap's first pixel.

    The foreground pixels lie anywhere: only their votes count.
    """
    votes = np.concatenate([np.tile([row, column], (number, 1)) for row, column, number, _ in heaps]).astype(np.float32)
    radius = np.concatenate([np.full(number, value) for _, _, number, value in heaps])
    foreground = np.arange(shape[0] * shape[1]).reshape(shape) < len(votes)
    label_map = gather_votes(foreground, votes, radius, merge_distance, min_votes)
    assert label_map.shape == shape and label_map.dtype == np.int32
    labels = label_map[foreground]
    assert np.array_equal(label_map > 0, foreground)
    assert set(labels) == set(range(1, labels.max() + 1))
    first = np.cumsum([0, *[number for _, _, number, _ in heaps[:-1]]])
    assert all(len(set(part)) == 1 for part in np.split(labels, first[1:]))
    return labels[first].tolist()


def test_no_foreground():
    label_map = gather_votes(np.zeros((5, 6), bool), np.zeros((0, 2), np.float32), np.zeros(0), 0.6, 0.3)
    assert label_map.shape == (5, 6) and label_map.dtype == np.int32 and not label_map.any()


def test_heaps_apart_are_numbered_from_the_top():
    assert gather([(30, 10, 100, 5), (10, 50, 100, 5), (10, 10, 100, 5)]) == [3, 2, 1]


def test_heaps_closer_than_the_merge_distance_are_one():
    for distance, labels in ((5, [1, 1]), (6, [1, 2]), (8, [1, 2])):  # 0.6 x 10 = 6 is not closer
        assert gather([(20, 20, 300, 10), (20, 20 + distance, 300, 10)]) == labels


def test_the_smaller_radius_decides_on_merging():
    assert gather([(20, 20, 300, 10), (20, 25, 50, 4)]) == [1, 2]
    assert gather([(20, 20, 300, 10), (20, 25, 50, 4)], merge_distance=1.5) == [1, 1]


def test_votes_that_miss_by_a_pixel_belong_to_the_heap():
    rng = np.random.default_rng(0)
    centres = np.repeat([[10, 10], [10, 30], [30, 20]], 200, axis=0)
    votes = centres + rng.uniform(-1.4, 1.4, centres.shape)
    foreground = np.arange(2400).reshape(40, 60) < 600
    labels = gather_votes(foreground, votes, np.full(600, 8.0), MERGE_DISTANCE, MIN_VOTES)[foreground]
    assert np.array_equal(labels, np.repeat([1, 2, 3], 200))


def test_weak_heaps_dissolve_into_the_nearest():
    area = np.pi * 6**2  # 113 votes; a heap needs 0.3 of them, 34
    assert gather([(20, 10, round(area), 6), (20, 30, 33, 6), (20, 45, round(area), 6)]) == [1, 2, 2]
    assert gather([(20, 10, round(area), 6), (20, 30, 34, 6), (20, 45, round(area), 6)]) == [1, 2, 3]


def test_votes_of_a_weak_heap_are_divided_between_the_nearest():
    labels = gather([(20, 10, 100, 6), (20, 26, 5, 6), (20, 29, 5, 6), (20, 45, 100, 6)], merge_distance=0)
    assert labels == [1, 1, 2, 2]


def test_where_all_are_weak_the_largest_remains():
    assert gather([(20, 10, 5, 30), (20, 50, 9, 30), (5, 30, 3, 30)]) == [1, 1, 1]


def test_a_single_vote_of_a_single_pixel_counts():
    assert gather([(3, 3, 1, 0.56), (20, 50, 1, 0.56)]) == [1, 2]


def test_votes_outside_the_picture_count_at_its_edge():
    assert gather([(-50, 10, 60, 5), (0, 10, 60, 5), (500, 900, 60, 5), (39, 59, 60, 5)]) == [1, 1, 2, 2]


def merged_in_order(peaks, sizes, reach):
    """Partition of heaps: from the largest on (the first among equals), each free heap takes the free ones in reach."""
    leader = {}
    for large in sorted(range(len(peaks)), key=lambda i: (-sizes[i], i)):
        if large in leader:
            continue
        leader[large] = large
        for small in range(len(peaks)):
            if small not in leader and np.linalg.norm(peaks[large] - peaks[small]) < reach:
                leader[small] = large
    return leader


@pytest.mark.parametrize("equal", [True, False], ids=["heaps of equal size", "heaps of different size"])
@pytest.mark.parametrize("seed", range(10))
def test_merging_and_dissolving_against_a_loop(equal, seed):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(15 * 12)[:50]
    peaks = np.sort(4 * cells)  # far enough apart for each to be a peak of its own
    peaks = np.column_stack([peaks // 4 // 12 * 4 + 2, peaks // 4 % 12 * 4 + 2])
    sizes = np.full(len(peaks), 20) if equal else rng.permutation(len(peaks)) + 5
    radius, min_votes = 8.0, 0.2  # heaps of fewer than 41 votes dissolve
    leader = merged_in_order(peaks, sizes, MERGE_DISTANCE * radius)
    merged_size = {large: sum(sizes[i] for i in leader if leader[i] == large) for large in set(leader.values())}
    strong = [large for large in sorted(merged_size) if merged_size[large] >= min_votes * np.pi * radius**2]
    assert 0 < len(strong) < len(merged_size) < len(peaks)  # all three happen: merged, dissolved, kept

    labels = gather([(*peak, size, radius) for peak, size in zip(peaks, sizes, strict=True)], (80, 60), 0.6, min_votes)
    for i, label in enumerate(labels):
        if leader[i] in strong:
            assert label == 1 + strong.index(leader[i])
        else:
            distance = [np.linalg.norm(peaks[i] - peaks[large]) for large in strong]
            assert distance[label - 1] == min(distance)


@pytest.mark.parametrize("seed", range(5))
def test_all_foreground_is_labelled_whatever_the_votes(seed):
    rng = np.random.default_rng(seed)
    foreground = rng.random((50, 70)) < 0.4
    number = np.count_nonzero(foreground)
    votes = rng.normal(25, 40, (number, 2)).astype(np.float32)
    label_map = gather_votes(foreground, votes, rng.lognormal(1, 1, number), MERGE_DISTANCE, MIN_VOTES)
    assert np.array_equal(label_map > 0, foreground)
    assert np.array_equal(np.unique(label_map[foreground]), np.arange(1, label_map.max() + 1))


@pytest.mark.parametrize("shift", np.linspace(0, 0.9, 10))
def test_blurred_heaps_between_the_pixels_stay_whole(shift):
    centres = np.repeat([[10, 10 + shift], [12 + shift, 17]], 60, axis=0)
    votes = centres + np.random.default_rng(0).normal(0, 0.5, centres.shape)
    foreground = np.arange(20 * 30).reshape(20, 30) < 120
    labels = gather_votes(foreground, votes, np.full(120, 4.0), MERGE_DISTANCE, MIN_VOTES)[foreground]
    assert np.array_equal(labels, np.repeat([1, 2], 60))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", ["_FEW_HEAPS", "_FEW_DISTANCES"])
def test_many_heaps_are_gathered_as_few_are(seed, limit, monkeypatch):
    """Beyond the limits it is done in another way."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 100, (40, 2))
    votes = np.repeat(centres, 60, axis=0) + rng.normal(0, 1, (2400, 2))
    foreground = np.arange(100 * 100).reshape(100, 100) < 2400
    few = gather_votes(foreground, votes, np.full(2400, 6.0), MERGE_DISTANCE, MIN_VOTES)
    assert 10 < few.max() < 40
    monkeypatch.setattr(voting, limit, 0)
    many = gather_votes(foreground, votes, np.full(2400, 6.0), MERGE_DISTANCE, MIN_VOTES)
    assert np.mean(many[foreground] == few[foreground]) > 0.99 if limit == "_FEW_DISTANCES" else (many == few).all()


def test_the_nearest_heap_of_many_is_nearly_the_nearest(monkeypatch):
    rng = np.random.default_rng(0)
    places, peaks = rng.integers(0, 200, (500, 2)), np.unique(rng.integers(0, 200, (60, 2)), axis=0)
    ballots = voting._Ballots(places, np.ones(500, int), np.ones(500), (200, 200))
    distance = np.linalg.norm(places[:, None] - peaks, axis=-1)
    least = distance.min(axis=1)
    assert np.array_equal(distance[np.arange(500), ballots.nearest(peaks)], least)
    monkeypatch.setattr(voting, "_FEW_DISTANCES", 0)
    assert np.all(distance[np.arange(500), ballots.nearest(peaks)] <= 1.05 * least)

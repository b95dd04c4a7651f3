"""How uncertain a figure is: bootstrap intervals that draw groups of images, not single images.

Tiles of one field look alike. Drawing images one by one would count them as independent evidence and make the interval
too narrow. `scipy.stats.bootstrap` cannot draw groups, nor all figures at once, nor two predictions in pairs.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.evaluation.scores import ImageScore, figures_of_sums, summands

# Numbers held at once while drawing; bounds the memory for large sets.
_BLOCK_NUMBERS = 10_000_000


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval: `low` and `high` are the 2.5th and 97.5th percentiles over the draws."""

    value: float
    low: float
    high: float


def bootstrap(
    scores: Sequence[ImageScore], groups: Sequence[Hashable], seed: int = 0, draws: int = 1000
) -> dict[str, Interval]:
    """Compute the figures of `scores.set_figures` with 95 % intervals (percentile bootstrap over groups).

    Parameters
    ----------
    scores : sequence of ImageScore
        At least one.
    groups : sequence of hashable
        The group of each image. As many groups as there are get drawn with replacement, with all their images.
    seed, draws : int

    Returns
    -------
    dict of str to Interval
        With a single group, low and high equal the value: one group says nothing about others.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    sums = _sum_by_group(summands(scores), groups)
    return _with_intervals(figures_of_sums(sums.sum(0)), [figures_of_sums(d) for d in _draw(sums, seed, draws)])


def paired_bootstrap(
    scores_a: Sequence[ImageScore],
    scores_b: Sequence[ImageScore],
    groups: Sequence[Hashable],
    seed: int = 0,
    draws: int = 1000,
) -> dict[str, Interval]:
    """Compute A minus B in the figures of two predictions of the same images, in the same order, as `bootstrap` does.

    Both are drawn together, so the difficulty of the images cancels out: A differs from B where the interval excludes
    0, even if their own intervals overlap.
    """

    def difference(sums_a: np.ndarray, sums_b: np.ndarray) -> dict[str, np.ndarray]:
        a, b = figures_of_sums(sums_a), figures_of_sums(sums_b)
        return {name: a[name] - b[name] for name in a}

    sums_a, sums_b = (_sum_by_group(summands(scores), groups) for scores in (scores_a, scores_b))
    # The same seed draws the same groups for A and B.
    blocks = zip(_draw(sums_a, seed, draws), _draw(sums_b, seed, draws), strict=True)
    return _with_intervals(difference(sums_a.sum(0), sums_b.sum(0)), [difference(a, b) for a, b in blocks])


def _sum_by_group(rows: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Sum the rows of each group; groups in the order of first appearance, (G, K)."""
    if len(groups) != len(rows):
        raise ValueError(f"there are {len(groups)} groups for {len(rows)} images; expected one for each image.")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(number), rows.shape[1]))
    np.add.at(sums, [number[group] for group in groups], rows)
    return sums


def _draw(sums: np.ndarray, seed: int, draws: int) -> Iterator[np.ndarray]:
    """Yield the sums over drawn groups, in blocks (B, K)."""
    rng = np.random.default_rng(seed)
    count = len(sums)
    block = max(1, _BLOCK_NUMBERS // count)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, count, (size, count))
        # How often each group was drawn, so that a matrix product sums all draws of the block at once.
        times = np.bincount((drawn + count * np.arange(size)[:, None]).ravel(), minlength=size * count)
        yield times.reshape(size, count).astype(float) @ sums


def _with_intervals(values: dict[str, np.ndarray], blocks: Sequence[dict[str, np.ndarray]]) -> dict[str, Interval]:
    limits = {name: np.percentile(np.concatenate([b[name] for b in blocks]), [2.5, 97.5]) for name in values}
    return {name: Interval(float(value), *map(float, limits[name])) for name, value in values.items()}

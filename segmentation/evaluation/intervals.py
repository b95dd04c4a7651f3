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
    scores: Sequence[ImageScore],
    groups: Sequence[Hashable],
    seed: int = 0,
    draws: int = 1000,
    minus: Sequence[ImageScore] | None = None,
) -> dict[str, Interval]:
    """Compute the figures of `scores.set_figures` with 95 % intervals: percentile bootstrap over groups [1]_.

    `scores`, at least one, and `groups` are those of the images. Each of the `draws` takes as many groups as there are,
    with replacement, with all their images. With a single group, low and high equal the value: one group says nothing
    about others.

    With `minus`, the scores of another prediction of the same images, compute the differences from it. The same images
    are drawn for both, so their difficulty cancels out: the two differ where the interval excludes 0, even if their own
    intervals overlap.

    References
    ----------
    .. [1] Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """

    def figures(sums: np.ndarray, *others: np.ndarray) -> dict[str, np.ndarray]:
        own, other = figures_of_sums(sums), [figures_of_sums(part) for part in others]
        return {name: value - other[0][name] if other else value for name, value in own.items()}

    sums = [_sum_by_group(summands(part), groups) for part in (scores, minus) if part is not None]
    values = figures(*(part.sum(0) for part in sums))
    # The same seed draws the same groups for both.
    drawn = [figures(*blocks) for blocks in zip(*(_draw(part, seed, draws) for part in sums), strict=True)]
    limits = {name: np.percentile(np.concatenate([block[name] for block in drawn]), [2.5, 97.5]) for name in values}
    return {name: Interval(float(value), *map(float, limits[name])) for name, value in values.items()}


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

"""How far a figure could be off: bootstrap intervals that draw groups of images, not images.

Tiles of one field are alike. Images drawn one by one would count them as independent evidence, and the interval
would come out too narrow.
"""

from dataclasses import dataclass

import numpy as np

from segmentation.evaluation.scores import figures_of_sums, summands

# Draws are made in blocks of about this many numbers, which bounds the memory for large sets.
_BLOCK_NUMBERS = 10_000_000


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % bootstrap interval.

    Attributes
    ----------
    value : float
        The figure for the set as it is.
    low, high : float
        The 2.5th and 97.5th percentiles over the draws.
    """

    value: float
    low: float
    high: float


def bootstrap(scores, groups, seed=0, draws=1000):
    """Figures of `scores.set_figures`, each with its 95 % interval (percentile bootstrap over groups).

    Parameters
    ----------
    scores : sequence of ImageScore
        At least one.
    groups : sequence of hashable
        The group of each image. As many groups as there are get drawn with replacement, with all their images.
    seed : int
    draws : int

    Returns
    -------
    dict of str to Figure
        With a single group, low and high are the value: one group tells nothing about others.
    """
    sums = _sum_by_group(summands(scores), groups)
    return _with_intervals(figures_of_sums(sums.sum(0)), [figures_of_sums(d) for d in _draw(sums, seed, draws)])


def paired_bootstrap(scores_a, scores_b, groups, seed=0, draws=1000):
    """How much better prediction A is than prediction B of the same images, with a 95 % interval.

    Both are drawn together, so that the difficulty of the images, which both share, cancels out: an interval without
    0 in it means that A differs from B, even where their own intervals overlap.

    Parameters
    ----------
    scores_a, scores_b : sequence of ImageScore
        Of the same images, in the same order.
    groups : sequence of hashable
        The group of each image.
    seed : int
    draws : int

    Returns
    -------
    dict of str to Figure
        A minus B for each figure of `scores.set_figures`.
    """
    sums_a, sums_b = (_sum_by_group(summands(scores), groups) for scores in (scores_a, scores_b))
    # Drawn from the same seed, the groups are the same for A and B.
    blocks = zip(_draw(sums_a, seed, draws), _draw(sums_b, seed, draws), strict=True)
    return _with_intervals(_difference(sums_a.sum(0), sums_b.sum(0)), [_difference(a, b) for a, b in blocks])


def _difference(sums_a, sums_b):
    a, b = figures_of_sums(sums_a), figures_of_sums(sums_b)
    return {name: a[name] - b[name] for name in a}


def _sum_by_group(rows, groups):
    """Sum the rows of each group; groups in the order of first appearance, (G, K)."""
    if len(groups) != len(rows):
        raise ValueError(f"there are {len(groups)} groups for {len(rows)} images; expected one for each image.")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(number), rows.shape[1]))
    np.add.at(sums, [number[group] for group in groups], rows)
    return sums


def _draw(sums, seed, draws):
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


def _with_intervals(values, blocks):
    limits = {name: np.percentile(np.concatenate([b[name] for b in blocks]), [2.5, 97.5]) for name in values}
    return {name: Figure(float(value), *map(float, limits[name])) for name, value in values.items()}

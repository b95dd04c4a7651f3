"""Put the nuclei of a picture that was decoded by blocks together: which fragments, across the seams, are one nucleus.

Each block labels a window that reaches a halo beyond its core, so two neighbouring blocks label a strip of two halos
both, and there their answers can be compared::

            core of A     |     core of B
       ...................|....................      .  the strip that both windows show
       .     aaaaaaaaaaaaaa|aaaaa              .      a  a nucleus as A labels it
       .     bbbbbbbbbbbbbb|bbbbb              .      b  the same as B labels it

A nucleus smaller than the halo that crosses the seam lies in the strip as a whole, for both; they agree on it, and the
pixels that A's core holds and those that B's core holds get one number. A nucleus that is larger is *cut*: it reaches
the edge of a window, whose block has not seen all of it and may have divided it, or joined it with another, wrongly;
parts of it that do not touch are therefore taken for fragments of their own.

The rule: of two fragments, one in the core of each block, the first *names* the second if more than half of its
pixels in the strip are the second's. Two fragments are one nucleus if each names the other, or if one of them is cut
and names the other. So nuclei smaller than the halo come out as if the picture had been decoded as a whole, and of a
larger one the fragments are joined: none is dropped, and a block that saw it whole has the say.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmentation.large.blocks import Block, Grid
from segmentation.large.fragments import Fragments
from segmentation.large.store import BlockStore


@dataclass(frozen=True, eq=False)
class Stitches:
    """Which fragments make up which nuclei.

    Attributes
    ----------
    first : dict of (int, int) to int
        By place in the grid, how many fragments the blocks before it have.
    nucleus : (n,) ndarray of uint32
        The nucleus of each fragment, from 1 without gaps, in the order of the first fragment of each.
    """

    first: dict[tuple[int, int], int]
    nucleus: np.ndarray

    @property
    def count(self) -> int:
        """How many nuclei there are."""
        return int(self.nucleus.max(initial=0))

    def numbers(self, block: Block, n_fragments: int) -> np.ndarray:
        """The nuclei of the labels 0..n of a block: (n + 1,) uint32, 0 for 0."""
        first = self.first[block.row, block.column]
        return np.concatenate([np.zeros(1, np.uint32), self.nucleus[first : first + n_fragments]])


def stitch(store: BlockStore, grid: Grid, fragments: dict[tuple[int, int], Fragments]) -> Stitches:
    """Match the fragments of all blocks.

    Parameters
    ----------
    store : BlockStore
        All blocks are finished.
    grid : Grid
    fragments : dict of (int, int) to Fragments
        Of each block, by its place in the grid.

    Returns
    -------
    Stitches
    """
    counts = [len(fragments[block.row, block.column].is_cut) for block in grid]
    starts = np.concatenate([[0], np.cumsum(counts)])
    first = {(block.row, block.column): int(start) for block, start in zip(grid, starts[:-1], strict=True)}
    pairs = [np.zeros((0, 2), np.int64)]
    above: dict[int, dict[str, np.ndarray]] = {}
    for row in range(len(grid.rows)):
        here: dict[int, dict[str, np.ndarray]] = {}
        for column in range(len(grid.columns)):
            here[column] = store.read_frame(grid.block(row, column))
            for place, one, other in _shared_strips(row, column, here, above, 2 * grid.halo):
                matched = match(one, other, fragments[place].is_cut, fragments[row, column].is_cut)
                pairs.append(matched - 1 + (first[place], first[row, column]))
        above = here
    one, other = np.concatenate(pairs).T
    total = int(starts[-1])
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(total, total))
    component = connected_components(graph, directed=False)[1] if total else np.zeros(0, int)
    return Stitches(first, _in_order(component))


def _shared_strips(row, column, here, above, depth):
    """The strips that the window at (row, column) shares with those before it: place, their labels, its labels."""
    own = here[column]
    if column - 1 in here:
        yield (row, column - 1), here[column - 1]["right"], own["left"]
    if column in above:
        yield (row - 1, column), above[column]["bottom"], own["top"]
    if column - 1 in above:
        yield (row - 1, column - 1), above[column - 1]["bottom"][:, -depth:], own["top"][:, :depth]
    if column + 1 in above:
        yield (row - 1, column + 1), above[column + 1]["bottom"][:, :depth], own["top"][:, -depth:]


def match(one: np.ndarray, other: np.ndarray, one_is_cut: np.ndarray, other_is_cut: np.ndarray) -> np.ndarray:
    """Match the labels that two blocks give to one strip, by the rule at the head of this module.

    Parameters
    ----------
    one, other : (h, w) ndarray of int
        0 is background, 1..n are fragments with pixels in the block's own core.
    one_is_cut, other_is_cut : (n,) ndarray of bool
        Of the labels from 1.

    Returns
    -------
    (m, 2) ndarray of int
        The labels that are one nucleus.
    """
    area_of_one = np.bincount(one.ravel(), minlength=len(one_is_cut) + 1)
    area_of_other = np.bincount(other.ravel(), minlength=len(other_is_cut) + 1)
    both = (one > 0) & (other > 0)
    codes, overlap = np.unique(one[both] * np.int64(len(area_of_other)) + other[both], return_counts=True)
    a, b = np.divmod(codes, len(area_of_other))
    a_names_b = 2 * overlap > area_of_one[a]
    b_names_a = 2 * overlap > area_of_other[b]
    joined = (a_names_b & (b_names_a | one_is_cut[a - 1])) | (b_names_a & other_is_cut[b - 1])
    return np.stack([a[joined], b[joined]], axis=-1)


def _in_order(component: np.ndarray) -> np.ndarray:
    """Number components from 1 in the order in which they first occur."""
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.uint32)
    number[np.argsort(first)] = np.arange(1, len(first) + 1)
    return number[inverse]

"""Join the fragments of a picture that was decoded by blocks: which of them, across the seams, are one nucleus.

Each block labels a window that reaches a halo beyond its core, so both of two neighbouring blocks label a strip of two
halos, and there their labels can be compared::

            core of A     |     core of B
       ...................|....................      .  the strip that both windows show
       .     aaaaaaaaaaaaaa|aaaaa              .      a  a nucleus as A labels it
       .     bbbbbbbbbbbbbb|bbbbb              .      b  the same nucleus as B labels it

A nucleus smaller than the halo that crosses the seam lies in the strip as a whole; both blocks agree on it, and its
pixels in the core of A and in the core of B get one number. A larger nucleus is *cut*: it reaches the edge of a window,
whose block has not seen all of it and may have divided it, or joined it with another. Parts of it that do not touch are
therefore fragments of their own.

The rule: of two fragments, one in the core of each block, the first *names* the second if more than half of its pixels
in the strip belong to the second. Two fragments are one nucleus if each names the other, or if one of them is cut and
names the other. So nuclei smaller than the halo come out as if the picture had been decoded as a whole, and the
fragments of a larger one are joined: none is dropped, and a block that saw the whole nucleus decides.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmentation.large.blocks import Block, Grid
from segmentation.large.fragments import Fragments
from segmentation.large.store import BlockStore
from segmentation.targets.evidence import Evidence


@dataclass(frozen=True, eq=False)
class Stitches:
    """Which fragments make up which nuclei."""

    first: dict[tuple[int, int], int]  # by the place of a block, how many fragments the blocks before it have
    # (n,) uint32: the nucleus of each fragment, from 1 in the order of their first fragments; 0 if it was dropped.
    nucleus: np.ndarray

    @property
    def count(self) -> int:
        """The number of nuclei."""
        return int(self.nucleus.max(initial=0))

    def numbers(self, block: Block, n_fragments: int) -> np.ndarray:
        """Return the nucleus of each label 0..n of a block: (n + 1,) uint32, 0 for 0."""
        first = self.first[block.place]
        return np.concatenate([np.zeros(1, np.uint32), self.nucleus[first : first + n_fragments]])


def stitch(store: BlockStore, grid: Grid, fragments: dict[tuple[int, int], Fragments]) -> Stitches:
    """Match the fragments of all blocks, by place; all blocks must be finished."""
    counts = [len(fragments[block.place].is_cut) for block in grid]
    starts = np.concatenate([[0], np.cumsum(counts)])
    first = {block.place: int(start) for block, start in zip(grid, starts[:-1], strict=True)}
    pairs: list[np.ndarray] = [np.zeros((0, 2), np.int64)]
    depth = 2 * grid.halo
    frames: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for block in grid:
        row, column = block.place
        own = frames[block.place] = store.read_frame(block)
        shared = (
            ((row, column - 1), "right", slice(None), own["left"]),
            ((row - 1, column), "bottom", slice(None), own["top"]),
            ((row - 1, column - 1), "bottom", slice(-depth, None), own["top"][:, :depth]),
            ((row - 1, column + 1), "bottom", slice(depth), own["top"][:, -depth:]),
        )
        for place, side, columns, other in shared:
            if place in frames:
                one = frames[place][side][:, columns]
                matched = match(one, other, fragments[place].is_cut, fragments[block.place].is_cut)
                pairs.append(matched - 1 + (first[place], first[block.place]))
        frames.pop((row - 2, column), None)
    one, other = np.concatenate(pairs).T
    total = int(starts[-1])
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(total, total))
    # Components are numbered in the order of their first members.
    component = connected_components(graph, directed=False)[1] if total else np.zeros(0, int)
    return Stitches(first, component.astype(np.uint32) + 1)


def merge_evidence(grid: Grid, fragments: dict[tuple[int, int], Fragments], stitches: Stitches) -> Evidence:
    """Return the evidence of all nuclei: means of that of their fragments, weighted by the pixels in the cores.

    A nucleus smaller than the halo is seen as a whole by each block that has a fragment of it.
    """
    weight = np.concatenate([fragments[block.place].core_area for block in grid]).astype(float)
    nucleus = stitches.nucleus.astype(np.int64) - 1
    area = np.bincount(nucleus, weight, stitches.count)
    names = fragments[0, 0].evidence.keys()
    merged = {}
    for name in names:
        values = np.concatenate([fragments[block.place].evidence[name] for block in grid])
        merged[name] = np.bincount(nucleus, weight * values, stitches.count) / area
    return merged | {"area": area}


def match(one: np.ndarray, other: np.ndarray, one_is_cut: np.ndarray, other_is_cut: np.ndarray) -> np.ndarray:
    """Return the labels of two blocks that are one nucleus, (m, 2) int, by the rule at the head of this module.

    `one` and `other` are the labels of both in the strip that they share, (h, w) int: 0 is background, 1..n are
    fragments; whether each fragment is cut, (n,) bool.
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

"""What one block knows of the nuclei in its core: the fragments of which `stitching` makes nuclei."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from segmentation.large.blocks import Block, Grid

# Up to this, in pixels, what lies beside a nucleus is what the decoder found too little for a nucleus of its own.
_CRUMB = 30


@dataclass(frozen=True, eq=False)
class Fragments:
    """The nuclei that one window shows in its core: fragments of the picture's nuclei.

    Attributes
    ----------
    core_area : (n,) ndarray of int
        Pixels of each fragment in the core. Fragments are numbered 1..n in the block's labels.
    window_area : (n,) ndarray of int
        Pixels of each fragment in the window.
    is_cut : (n,) ndarray of bool
        Whether the fragment reaches the edge of the window, within the picture: there may be more of it.
    box : (n, 4) ndarray of int
        First row, first column, and the row and column after the last, of each fragment in the core, in the picture.
    table : dict of str to (n,) ndarray
        Measurements of the fragment as the window shows it, in coordinates of the window; empty if none were asked for.
    """

    core_area: np.ndarray
    window_area: np.ndarray
    is_cut: np.ndarray
    box: np.ndarray
    table: dict[str, np.ndarray] = field(default_factory=dict)


def find_fragments(block: Block, grid: Grid, labels: np.ndarray) -> tuple[np.ndarray, Fragments]:
    """Describe what a window shows in its core, without measurements.

    Parameters
    ----------
    block : Block
    grid : Grid
    labels : (h, w) ndarray of int32
        The decoded window.

    Returns
    -------
    labels : (h, w) ndarray of int32
        Only the nuclei with pixels in the core, numbered 1..n. Of a nucleus that reaches the edge of the window, parts
        that do not touch are numbered separately: the decoder has not seen what lies beyond and may have joined
        strangers.
    fragments : Fragments
    """
    labels, count = _renumbered(labels, block)
    divided = _divide(labels, edge_of(block, grid), count)
    if divided is not labels:
        labels, count = _renumbered(divided, block)
    core = labels[block.core_in_window]
    boxes = ndimage.find_objects(core, max_label=count)
    corner = np.array([block.rows.core.start, block.columns.core.start] * 2)
    box = np.array([[y.start, x.start, y.stop, x.stop] for y, x in boxes], np.int64).reshape(-1, 4) + corner
    return labels, Fragments(
        core_area=np.bincount(core.ravel(), minlength=count + 1)[1:],
        window_area=np.bincount(labels.ravel(), minlength=count + 1)[1:],
        is_cut=np.bincount(labels[edge_of(block, grid)], minlength=count + 1)[1:] > 0,
        box=box,
    )


def _renumbered(labels: np.ndarray, block: Block) -> tuple[np.ndarray, int]:
    """Keep the labels with pixels in the core, and number them from 1."""
    in_core = np.bincount(labels[block.core_in_window].ravel(), minlength=labels.max() + 1) > 0
    in_core[0] = False
    return np.where(in_core, np.cumsum(in_core), 0).astype(np.int32)[labels], np.count_nonzero(in_core)


def edge_of(block: Block, grid: Grid) -> np.ndarray:
    """The pixels of a window at whose side the picture goes on, (h, w) bool."""
    edge = np.zeros(block.window_shape, bool)
    edge[0] = block.row > 0
    edge[-1] |= block.row + 1 < len(grid.rows)
    edge[:, 0] |= block.column > 0
    edge[:, -1] |= block.column + 1 < len(grid.columns)
    return edge


def _divide(labels: np.ndarray, edge: np.ndarray, count: int) -> np.ndarray:
    """Number the parts of labels that reach the edge separately; crumbs stay with the largest part."""
    cut = np.unique(labels[edge])
    boxes = ndimage.find_objects(labels, max_label=count) if cut.any() else []
    divided = labels
    for label in cut[cut > 0]:
        box = boxes[label - 1]
        parts, n_parts = ndimage.label(labels[box] == label, structure=np.ones((3, 3)))
        if n_parts == 1:
            continue
        divided = divided.copy() if divided is labels else divided
        area = np.bincount(parts.ravel())
        area[0] = 0
        area[area.argmax()] = 0
        for part in np.flatnonzero(area > _CRUMB):
            count += 1
            divided[box][parts == part] = count
    return divided

"""The nuclei that one block shows in its core: the fragments that `stitching` joins to nuclei."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from segmentation.large.blocks import Block, Grid
from segmentation.targets.evidence import Evidence

# Parts of a nucleus of at most so many pixels are not made fragments of their own: the decoder leaves such crumbs.
_CRUMB = 30


@dataclass(frozen=True, eq=False)
class Fragments:
    """The n nuclei that one window shows in its core, labelled 1..n: fragments of the nuclei of the picture."""

    core_area: np.ndarray  # (n,) int: pixels in the core
    window_area: np.ndarray  # (n,) int: pixels in the window
    is_cut: np.ndarray  # (n,) bool: reaches an edge of the window, beyond which the picture and the nucleus may go on
    box: np.ndarray  # (n, 4) int: in the core, first row and column and those after the last, in the picture
    # (n,) measurements by name, of what the window shows and in its coordinates; empty if none were asked for.
    table: dict[str, np.ndarray] = field(default_factory=dict)
    # (n,) by name, what the window shows; empty for a model that gives no scores.
    evidence: Evidence = field(default_factory=dict)


def find_fragments(block: Block, grid: Grid, labels: np.ndarray) -> tuple[np.ndarray, Fragments]:
    """Return the labels of the fragments in a decoded window, (h, w) int32, and the fragments without measurements.

    Labels without a pixel in the core are dropped, the others numbered 1..n. Of a nucleus that reaches the edge of the
    window, parts that do not touch are numbered separately: the decoder has not seen what lies beyond the edge and may
    have joined several nuclei.
    """
    edge = edge_of(block, grid)
    labels = _divide(labels, edge)
    in_core = np.bincount(labels[block.core_in_window].ravel(), minlength=labels.max() + 1) > 0
    in_core[0] = False
    labels = np.where(in_core, np.cumsum(in_core), 0).astype(np.int32)[labels]
    count = int(np.count_nonzero(in_core))
    core = labels[block.core_in_window]
    boxes = ndimage.find_objects(core, max_label=count)
    corner = np.array([block.rows.core.start, block.columns.core.start] * 2)
    box = np.array([[y.start, x.start, y.stop, x.stop] for y, x in boxes], np.int64).reshape(-1, 4) + corner
    return labels, Fragments(
        core_area=np.bincount(core.ravel(), minlength=count + 1)[1:],
        window_area=np.bincount(labels.ravel(), minlength=count + 1)[1:],
        is_cut=np.bincount(labels[edge], minlength=count + 1)[1:] > 0,
        box=box,
    )


def edge_of(block: Block, grid: Grid) -> np.ndarray:
    """Return the outermost pixels of a window where the picture goes on beyond it, (h, w) bool."""
    edge = np.zeros(block.window_shape, bool)
    edge[0] = block.row > 0
    edge[-1] |= block.row + 1 < len(grid.rows)
    edge[:, 0] |= block.column > 0
    edge[:, -1] |= block.column + 1 < len(grid.columns)
    return edge


def _divide(labels: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Number the parts of labels that reach the edge separately; crumbs stay with the largest part."""
    divided, count = labels.copy(), labels.max()
    boxes = ndimage.find_objects(labels)
    for label in filter(None, np.unique(labels[edge])):
        box = boxes[label - 1]
        parts, n_parts = ndimage.label(labels[box] == label, structure=np.ones((3, 3)))
        if n_parts == 1:
            continue
        area = np.bincount(parts.ravel())
        area[0] = 0
        area[area.argmax()] = 0
        for part in np.flatnonzero(area > _CRUMB):
            count += 1
            divided[box][parts == part] = count
    return divided

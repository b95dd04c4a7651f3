"""Targets "flows": each foreground pixel has the direction in which to go to reach the centre of its nucleus.

As in Cellpose (Stringer et al. 2021): heat spreads from the centre within the nucleus and is lost at its edge; the
direction is that in which the warmth rises fastest. Cellpose lets it spread for a number of steps; here it has spread
for ever, the steady state of the same steps, which is found in far fewer. The directions differ by 1 degree in the
median. Two more differences: the centre is the pixel nearest to the centroid, not to the median; and the pieces of a
nucleus that do not touch each have a centre, so they come out as so many nuclei.

Nuclei whose centres are nearer to each other than 0.6 radii of the smaller, as those of threads side by side, come out
as one.
"""

import cv2
import numpy as np

from segmentation.targets.geometry import measure_nuclei
from segmentation.targets.voting import gather_votes

name = "flows"
channels = ("foreground", "row_flow", "column_flow")
activations = ("sigmoid", "linear", "linear")
vectors = ()
directions = ((1, 2),)
log_lengths = ()

# Of the solver, between two looks at which nuclei are done.
_ROUNDS = 16
# Each doubles the number of steps of one pixel, of which the way to a centre may take that many.
_DOUBLINGS = 8
# A network that is unsure says less than 1. From this on a step is one pixel; shorter ones let pixels come to rest.
_SURE = 0.5
# The mean distance from the centre of a disk is two thirds of its radius.
_RADIUS_OF_MEAN_DISTANCE = 1.5
_MERGE_DISTANCE = 0.6
# Low, since for a long nucleus the radius comes out too large.
_MIN_VOTES = 0.1
# Ten votes make a nucleus at least, as in Cellpose, unless it stands alone.
_LEAST_RADIUS = 5.6


def encode(label_map: np.ndarray) -> np.ndarray:
    """Turn a label map into the channels that a network learns.

    Parameters
    ----------
    label_map : (H, W) ndarray of int
        0 = background.

    Returns
    -------
    (H, W, 3) ndarray of float32
        Foreground (0 or 1); unit vector, rows and columns, 0 at the centre and in the background.
    """
    targets = np.zeros((*label_map.shape, len(channels)), np.float32)
    rows, columns = np.nonzero(label_map)
    if not len(rows):
        return targets
    beside = _neighbours(label_map, rows, columns)
    heat, is_centre = _diffuse(label_map.shape, rows, columns, beside)
    # One more for the neighbours that are none: they are cold.
    heat = np.append(heat, 0)
    slope = np.stack([heat[beside[:, 6]] - heat[beside[:, 1]], heat[beside[:, 4]] - heat[beside[:, 3]]], axis=-1)
    steepness = np.linalg.norm(slope, axis=-1)
    # What is level up to rounding has no direction.
    is_slope = (steepness > 1e-6 * heat[:-1]) & ~is_centre
    targets[rows, columns, 0] = 1
    targets[rows[is_slope], columns[is_slope], 1:] = slope[is_slope] / steepness[is_slope, None]
    return targets


def decode(predicted: np.ndarray, foreground: float = 0.5) -> np.ndarray:
    """Turn predicted channels back into a label map.

    Each foreground pixel follows the flow, by steps of a pixel, until it comes to rest or leaves the foreground; pixels
    that end at one place are one nucleus. The steps are not taken one after the other: from where each pixel is after
    n steps follows where it is after 2 n.

    Parameters
    ----------
    predicted : (H, W, 3) ndarray of float32
        As `encode` gives them; the foreground is a probability.
    foreground : float
        Foreground is where the probability is greater than this.

    Returns
    -------
    (H, W) ndarray of int32
        Label map, 0 = background, 1..n.
    """
    is_foreground = predicted[..., 0] > foreground
    if not is_foreground.any():
        return np.zeros(is_foreground.shape, np.int32)
    way = _follow(is_foreground, predicted[..., 1:3])
    votes = np.argwhere(is_foreground) + way
    radius = _RADIUS_OF_MEAN_DISTANCE * np.hypot(way[:, 0], way[:, 1])
    # What goes astray comes to rest after a short way, and would pass for small nuclei.
    radius = np.minimum(np.maximum(radius, _LEAST_RADIUS), _radius_of_component(is_foreground))
    return gather_votes(is_foreground, votes, radius, _MERGE_DISTANCE, _MIN_VOTES)


def median_diameter(predicted: np.ndarray, foreground: float = 0.5) -> float | None:
    """Diameter of a disk whose pixels have as far to go to its centre, in the median, as those of the foreground.

    Parameters
    ----------
    predicted, foreground
        As in `decode`.

    Returns
    -------
    float or None
        In pixels; None without foreground.
    """
    is_foreground = predicted[..., 0] > foreground
    if not is_foreground.any():
        return None
    way = _follow(is_foreground, predicted[..., 1:3])
    # Half of a disk is nearer to its centre than the root of one half of its radius; a single pixel has a size, too.
    return max(float(2 * np.sqrt(2) * np.median(np.hypot(way[:, 0], way[:, 1]))), 1.0)


def _follow(is_foreground, flow):
    """How far, down and across, each foreground pixel is from where the flow (H, W, 2) leads it: (N, 2)."""
    start = np.argwhere(is_foreground).astype(np.float32)
    # Who has left the foreground goes no further.
    step = np.zeros((*is_foreground.shape, 2), np.float32)
    step[is_foreground] = flow[is_foreground]
    step /= np.maximum(np.hypot(step[..., :1], step[..., 1:]), _SURE)
    way = step[is_foreground]
    ways = step.copy()
    for _ in range(_DOUBLINGS):
        further = _at(ways, start + way)
        way = way + further
        ways[is_foreground] = way
        # A whole step is 0.7 pixels along the rows or the columns at least.
        if np.abs(further).max() < 0.5:
            break
    # Where the flows of two neighbours point at each other, one goes back and forth: half a step ends in the middle.
    return way + _at(step, start + way) / 2


def _at(vectors, places):
    """The vectors (H, W, 2) at the pixels nearest to some places (N, 2)."""
    height, width = vectors.shape[:2]
    nearest = np.rint(places).astype(np.intp)
    flat = nearest[:, 0].clip(0, height - 1) * width + nearest[:, 1].clip(0, width - 1)
    return vectors.reshape(-1, 2).take(flat, axis=0)


def _radius_of_component(is_foreground):
    """Radius of the disk with the area of the connected foreground around each foreground pixel, (N,) float."""
    component = cv2.connectedComponents(is_foreground.astype(np.uint8), connectivity=8)[1]
    return np.sqrt(np.bincount(component.ravel()) / np.pi)[component[is_foreground]]


def _neighbours(label_map, rows, columns):
    """Numbers of the eight neighbours of each pixel, from the top left by rows; N where one is of another nucleus."""
    framed = np.pad(label_map, 1)
    width = framed.shape[1]
    place = (rows + 1) * width + columns + 1
    framed, number = framed.ravel(), np.full(framed.size, len(rows), np.int32)
    number[place] = np.arange(len(rows), dtype=np.int32)
    own = framed[place]
    beside = np.empty((len(rows), 8), np.int32)
    for index, step in enumerate((-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1)):
        beside[:, index] = np.where(framed[place + step] == own, number[place + step], len(rows))
    return beside


def _diffuse(shape, rows, columns, beside):
    """Heat of each pixel when it spreads from the centres for ever, (N,) float64, and which are centres, (N,) bool.

    Each step of Cellpose adds 1 at the centre and then replaces each pixel by the mean of the 3 x 3 around it, of which
    those outside the nucleus count as 0. What does not change any more under these steps is the solution of linear
    equations, here by conjugate gradients (Hestenes and Stiefel 1952), for all nuclei side by side.
    """
    # Imported here, because prediction does without.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    inside = beside < len(rows)
    ends = np.concatenate([[0], np.cumsum(inside.sum(axis=1))])
    around = csr_array((np.ones(ends[-1]), beside[inside], ends), shape=(len(rows), len(rows)))
    _, piece = connected_components(around, directed=False)
    pieces = np.zeros(shape, np.int32)
    pieces[rows, columns] = piece + 1
    nuclei = measure_nuclei(pieces)
    is_centre = (rows == nuclei.centre_rows) & (columns == nuclei.centre_columns)
    heat = np.zeros(len(rows))
    pixels = np.arange(len(rows))
    found, residual, direction = heat.copy(), is_centre.astype(float), is_centre.astype(float)
    square = np.bincount(piece, residual**2)
    while len(pixels):
        for _ in range(_ROUNDS):
            change = 8 * direction - around @ direction
            step = _ratio(square, np.bincount(piece, direction * change))[piece]
            found += step * direction
            residual -= step * change
            previous, square = square, np.bincount(piece, residual**2)
            direction = residual + _ratio(square, previous)[piece] * direction
        heat[pixels] = found
        # Heat comes one pixel further with each round. Far from the centre it is little: what must be small is the
        # error relative to it. Along lines of a pixel's width it vanishes after some 150 pixels.
        is_open = (np.bincount(piece, np.abs(residual) >= 0.1 * found) > 0) & (square > 1e-290)
        if 2 * np.count_nonzero(is_open[piece]) < len(pixels):
            kept = is_open[piece]
            pixels, around = pixels[kept], around[kept][:, kept]
            found, residual, direction = found[kept], residual[kept], direction[kept]
            piece, square = (np.cumsum(is_open) - 1)[piece[kept]], square[is_open]
    # A step ends with the mean, of which what was added last is not yet a part.
    return heat - is_centre / 9, is_centre


def _ratio(dividend, divisor):
    """The quotient; 0 where nothing is left to divide by, as the answer is found."""
    return np.divide(dividend, divisor, out=np.zeros_like(dividend), where=divisor > 0)

"""Trace the outlines of nuclei along the edges of pixels.

The pixel in row y and column x is the square from (x, y) to (x + 1, y + 1), as in ImageJ and QuPath. So the corners of
an outline are integers, and it encloses exactly the centres of the nucleus's pixels. `cv2.findContours` runs through
the centres of pixels, and GDAL (rasterio), which does it, is a large dependency.

All nuclei are traced at once. Each side of a pixel at the border of its nucleus is an edge with one edge that follows;
following all edges at the same time, by 1, 2, 4, 8 ... steps, finds the rings that they form.
"""

import cv2
import numpy as np

# Where the sides of a pixel start, (x, y): 0 top, 1 right, 2 bottom, 3 left, clockwise on the screen.
_STARTS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.int32)


def trace_outlines(labels: np.ndarray) -> dict[int, list[list[np.ndarray]]]:
    """Trace the outline of each nucleus.

    A nucleus has a polygon for each of its pieces; pixels that touch only at a corner belong to different pieces,
    unless they are connected elsewhere. A polygon has rings: the outer one, then one for each hole. No ring crosses or
    touches itself, but two rings may touch in corners, so the polygons are valid simple features.

    Takes an (H, W) label map. Returns, by label in ascending order, the polygons, their rings, and the corners (x, y)
    of these, (n, 2) int32, from the top left corner of the image. The first corner is not repeated at the end. Outer
    rings are clockwise on the screen and have a positive signed area; holes are the other way round.

    Examples
    --------
    >>> trace_outlines(np.array([[0, 7, 7]]))[7][0][0].tolist()
    [[1, 0], [3, 0], [3, 1], [1, 1]]
    """
    pixel, side, label, following = _edges(labels)
    if not len(pixel):
        return {}
    order, starts = _in_rings(label, following)
    pixel, side, label = pixel[order], side[order], label[order]

    # Corners are where the direction changes. The first edge of a ring is the first of its top sides in raster order,
    # which does not continue another one.
    turns = side != np.roll(side, 1)
    turns[starts] = True
    y, x = np.divmod(pixel[turns], labels.shape[1] + 2)
    corners = np.stack([x - 1, y - 1], axis=1).astype(np.int32) + _STARTS[side[turns]]
    label = label[starts]
    starts = np.cumsum(turns)[starts] - 1
    areas = _signed_areas(corners, starts)
    rings = np.split(corners, starts[1:])

    limits = [0, *(np.flatnonzero(np.diff(label)) + 1).tolist(), len(rings)]
    return {
        int(label[first]): _polygons(rings[first:last], areas[first:last], labels, label[first])
        for first, last in zip(limits[:-1], limits[1:], strict=True)
    }


def _edges(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixel, the side and the label of each edge, and the number of the edge that follows, (n,) each.

    Pixels are flat indices into the label map with a frame of one pixel. Edges are ordered by side, then by pixel.
    """
    width = labels.shape[1] + 2
    flat = np.pad(labels, 1).ravel()
    outwards = np.array([-width, 1, width, -1])
    core = flat[width:-width]
    pixels = [
        np.flatnonzero((core > 0) & (core != flat[width + step : len(flat) - width + step])) + width
        for step in outwards.tolist()
    ]
    pixel = np.concatenate(pixels)
    side = np.repeat(np.arange(4), [len(part) for part in pixels])
    label = flat[pixel]
    key = side * len(flat) + pixel

    def edge(side: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return np.searchsorted(key, side % 4 * len(flat) + pixel)

    # The next edge is at the same pixel (a corner), at the pixel ahead (straight on) or at the pixel beyond (a corner).
    ahead = pixel + np.roll(outwards, -1)[side]
    beyond = ahead + outwards[side]
    ends, resumes = flat[ahead] != label, flat[beyond] == label
    following = edge(
        side + np.where(ends, 1, np.where(resumes, -1, 0)), np.where(ends, pixel, np.where(resumes, beyond, ahead))
    )

    # This keeps pixels apart that touch only at a corner. If one ring passes both, they are connected elsewhere, and
    # the ring touches itself: it is divided by going on along the other pixel.
    touching = np.flatnonzero(ends & resumes)
    other = edge(side[touching] - 1, beyond[touching])
    first = _first_of_ring(following)
    same = first[touching] == first[other]
    following[touching[same]] = other[same]
    return pixel, side, label, following


def _first_of_ring(following: np.ndarray) -> np.ndarray:
    """Return, for each edge, the lowest number of an edge in its ring."""
    first, hop = np.arange(len(following)), following
    while True:
        lower = np.minimum(first, first[hop])
        if np.array_equal(lower, first):
            return first
        first, hop = lower, hop[hop]


def _in_rings(label: np.ndarray, following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges by label, ring and place in the ring, (n,), and where in this order each ring starts."""
    first = _first_of_ring(following)
    # Steps from each edge to the end of its ring: those to an edge further on, and those from there.
    is_last = following == first
    steps, hop = (~is_last).astype(np.int64), np.where(is_last, np.arange(len(following)), following)
    while True:
        further = steps[hop]
        if not further.any():
            break
        steps, hop = steps + further, hop[hop]

    firsts = np.flatnonzero(first == np.arange(len(first)))
    firsts = firsts[np.argsort(label[firsts], kind="stable")]
    ends = np.cumsum(steps[firsts] + 1)
    end_of = np.empty(len(first), np.int64)
    end_of[firsts] = ends
    order = np.empty(len(first), np.int64)
    order[end_of[first] - 1 - steps] = np.arange(len(first))
    return order, np.concatenate([[0], ends[:-1]])


def _signed_areas(corners: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the area of each ring, positive for outer rings and negative for holes."""
    following = np.arange(1, len(corners) + 1)
    following[np.append(starts[1:], len(corners)) - 1] = starts
    x, y = corners.astype(np.int64).T
    return np.add.reduceat((x - x[following]) * (y + y[following]), starts) // 2


def _polygons(
    rings: list[np.ndarray], areas: np.ndarray, labels: np.ndarray, label: np.integer
) -> list[list[np.ndarray]]:
    """Put the rings of one nucleus together to polygons: each hole goes to its piece."""
    outer, holes = np.flatnonzero(areas > 0).tolist(), np.flatnonzero(areas < 0).tolist()
    if len(outer) == 1 or not holes:
        return [[rings[index], *(rings[hole] for hole in holes)] for index in outer]
    left, top = np.min([rings[index].min(axis=0) for index in outer], axis=0)
    right, bottom = np.max([rings[index].max(axis=0) for index in outer], axis=0)
    mask = labels[top:bottom, left:right] == label
    _, pieces = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)

    def piece(ring: np.ndarray) -> int:
        # The first corner, also of a hole, is the top left one of a pixel of the nucleus.
        x, y = ring[0]
        return pieces[y - top, x - left]

    polygons = {piece(rings[index]): [rings[index]] for index in outer}
    for hole in holes:
        polygons[piece(rings[hole])].append(rings[hole])
    return list(polygons.values())

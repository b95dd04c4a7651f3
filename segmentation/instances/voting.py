"""Gather pixels into nuclei by where they vote that the centre of their nucleus lies."""

from dataclasses import dataclass

import cv2
import numpy as np

# Votes within about a pixel of each other are one heap: what remains of rounding and of the network's noise.
_BLUR_SIGMA = 0.7

# A heap with less than this fraction of the votes of its nucleus is noise.
_SPECK = 0.02

# Up to so many heaps, all pairs are looked at: faster than a search tree, whose import takes as long as ten images.
_FEW_HEAPS = 1000

# Up to so many distances for each pixel of the picture, all are taken: faster than a distance transform.
_FEW_DISTANCES = 6


def gather_votes(
    foreground: np.ndarray, votes: np.ndarray, radius: np.ndarray, merge_distance: float, min_votes: float
) -> np.ndarray:
    """Label each foreground pixel by the heap of votes that its own vote fell into.

    Heaps are the local maxima of the slightly blurred histogram of votes. A heap nearer to a larger one than
    `merge_distance` times the radius of both is a part of it; one with less than `min_votes` of the votes that a
    nucleus of its radius would give is dissolved, and its votes go to the nearest heap that remains.

    Parameters
    ----------
    foreground : (H, W) ndarray of bool
    votes : (N, 2) ndarray of float
        Row and column, in pixels, that each of the N foreground pixels (in the order of ``np.nonzero``) votes for.
    radius : (N,) ndarray of float
        Radius, in pixels, of the nucleus that each foreground pixel believes to belong to.
    merge_distance : float
        In units of the radius.
    min_votes : float
        Fraction of a disk's area.

    Returns
    -------
    (H, W) ndarray of int32
        Label map, 0 = background, 1..n in the order of the rows of the heaps. Every foreground pixel has a label.
    """
    label_map = np.zeros(foreground.shape, np.int32)
    if not len(votes):
        return label_map
    height, width = foreground.shape
    rows, columns = np.rint(votes).astype(np.intp).clip(0, (height - 1, width - 1)).T
    cell = rows * width + columns
    histogram = np.bincount(cell, minlength=height * width)
    # From here on, what counts is not each vote but each pixel that votes fell on, which are far fewer.
    hit = np.flatnonzero(histogram)
    ballots = _Ballots(
        np.stack(np.divmod(hit, width), axis=-1),
        histogram[hit],
        np.bincount(cell, radius, height * width)[hit],
        foreground.shape,
    )
    blurred = cv2.GaussianBlur(histogram.reshape(height, width).astype(np.float32), (0, 0), _BLUR_SIGMA)
    is_peak = (blurred == cv2.dilate(blurred, np.ones((3, 3), np.uint8))) & (blurred > 1e-3)
    peaks = np.stack(np.divmod(np.flatnonzero(is_peak), width), axis=-1)  # argwhere takes five times as long
    heap = ballots.nearest(peaks)

    # Specks first: with them gone, few heaps are near enough to each other to be compared, whatever was predicted.
    peaks, heap = _dissolve(peaks, heap, ballots, _SPECK)
    peaks, heap = _merge(peaks, heap, ballots, merge_distance)
    peaks, heap = _dissolve(peaks, heap, ballots, min_votes)
    label = np.empty(height * width, np.int32)
    label[hit] = heap + 1
    label_map[foreground] = label[cell]
    return label_map


@dataclass(frozen=True, eq=False)
class _Ballots:
    """The pixels that votes fell on.

    Attributes
    ----------
    places : (M, 2) ndarray of int
        Row and column.
    votes : (M,) ndarray of int
        How many fell there.
    radii : (M,) ndarray of float
        Sum of the radii that their voters believe in.
    shape : (int, int)
        Of the picture.
    """

    places: np.ndarray
    votes: np.ndarray
    radii: np.ndarray
    shape: tuple[int, int]

    def nearest(self, peaks: np.ndarray, chosen: np.ndarray | slice = np.s_[:]) -> np.ndarray:
        """Number of the nearest peak for each of the chosen places; for many, one that is at most 5 % further."""
        places = self.places[chosen]
        if len(places) * len(peaks) <= _FEW_DISTANCES * self.shape[0] * self.shape[1]:
            points = (part.astype(np.float32) for part in (places, peaks))
            return cv2.batchDistance(*points, cv2.CV_32F, K=1)[1][:, 0]
        elsewhere = np.ones(self.shape, np.uint8)
        elsewhere[tuple(peaks.T)] = 0
        _, mark = cv2.distanceTransformWithLabels(
            elsewhere, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        number = np.empty(len(peaks) + 1, np.intp)
        number[mark[tuple(peaks.T)]] = np.arange(len(peaks))
        return number[mark[tuple(places.T)]]

    def measure(self, heap: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Number of votes of each heap, and the mean radius that its voters believe in."""
        size = np.bincount(heap, self.votes, count)
        return size, np.bincount(heap, self.radii, count) / np.maximum(size, 1)


def _dissolve(peaks, heap, ballots, min_votes):
    """Give the votes of heaps that are too small for their radius to the nearest of the others."""
    size, mean_radius = ballots.measure(heap, len(peaks))
    strong = size >= np.maximum(min_votes * np.pi * mean_radius**2, 1)
    if not strong.any():
        strong[size.argmax()] = True
    remaining = peaks[strong]
    number = np.cumsum(strong) - 1
    kept = strong[heap]
    result = number[heap]
    if not kept.all():
        result[~kept] = ballots.nearest(remaining, ~kept)
    return remaining, result


def _merge(peaks, heap, ballots, merge_distance):
    """Unite heaps that are parts of one: each joins the largest one near it that joins no other itself."""
    size, mean_radius = ballots.measure(heap, len(peaks))
    first, second = _close_pairs(peaks, merge_distance * mean_radius)

    # From the largest on: who is near no leader becomes one, the others join the largest leader near them. In rounds,
    # each of which decides all whose largest neighbour is decided.
    by_rank = np.lexsort((-np.arange(len(peaks)), size))
    rank = np.empty_like(by_rank)
    rank[by_rank] = np.arange(len(peaks))
    leader = np.full(len(peaks), -1)
    while (leader < 0).any():
        open_pairs = (leader[first] < 0) & ((leader[second] < 0) | (leader[second] == second))
        first, second = first[open_pairs], second[open_pairs]
        largest = np.full(len(peaks), -1)
        np.maximum.at(largest, first, rank[second])
        leads = (leader < 0) & (rank > largest)
        joins = (leader < 0) & ~leads
        joins[joins] = leader[by_rank[largest[joins]]] >= 0
        leader[joins] = by_rank[largest[joins]]
        leader[leads] = np.flatnonzero(leads)
    leaders, united = np.unique(leader, return_inverse=True)
    return peaks[leaders], united[heap]


def _close_pairs(peaks, reach):
    """All ordered pairs of different peaks of which each is within the reach of the other."""
    if len(peaks) <= _FEW_HEAPS:
        distance = np.sqrt(np.square(peaks[:, None] - peaks).sum(axis=-1))
        np.fill_diagonal(distance, np.inf)
        return np.nonzero(distance < np.minimum(reach[:, None], reach))
    from scipy.spatial import cKDTree

    near = cKDTree(peaks).query_ball_point(peaks, reach)
    first = np.repeat(np.arange(len(peaks)), [len(others) for others in near])
    second = np.concatenate([np.asarray(others, np.intp) for others in near])
    distance = np.linalg.norm(peaks[first] - peaks[second], axis=1)
    close = (distance < np.minimum(reach[first], reach[second])) & (first != second)
    return first[close], second[close]

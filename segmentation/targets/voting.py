"""Gather pixels into nuclei by where they vote that the centre of their nucleus lies."""

from dataclasses import dataclass

import cv2
import numpy as np

# Votes within about a pixel of each other are one heap: what remains of rounding and of the network's noise.
_BLUR_SIGMA = 0.7

# A heap with less than this fraction of the votes of its nucleus is noise.
_SPECK = 0.02

# Up to so many heaps, each is compared with all: faster than a search tree, whose import takes as long as ten images.
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
    reach = merge_distance * mean_radius
    nearby = _Nearby(peaks)
    leader = np.where(nearby.nearest() < reach, -1, np.arange(len(peaks)))
    for largest in np.lexsort((-np.arange(len(peaks)), size))[::-1]:
        if leader[largest] < 0:
            others, distance = nearby.find(largest, reach[largest])
            leader[others[(leader[others] < 0) & (distance < reach[others])]] = largest
            leader[largest] = largest
    leaders, united = np.unique(leader, return_inverse=True)
    return peaks[leaders], united[heap]


class _Nearby:
    """Finds the peaks near a peak."""

    def __init__(self, peaks: np.ndarray):
        self._peaks = peaks.astype(np.float32)
        self._everyone = np.arange(len(peaks))
        self._tree = None
        if len(peaks) > _FEW_HEAPS:
            from scipy.spatial import cKDTree

            self._tree = cKDTree(self._peaks)

    def nearest(self) -> np.ndarray:
        """How far each peak is from the nearest other one."""
        if self._tree is not None:
            return self._tree.query(self._peaks, k=2)[0][:, 1]
        if len(self._peaks) == 1:
            return np.array([np.inf])
        return cv2.batchDistance(self._peaks, self._peaks, cv2.CV_32F, K=2)[0][:, 1]

    def find(self, peak: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and distances of the peaks that are nearer than `reach`, itself among them."""
        others = self._everyone
        if self._tree is not None:
            others = np.asarray(self._tree.query_ball_point(self._peaks[peak], reach), np.intp)
        distance = np.hypot(*(self._peaks[others] - self._peaks[peak]).T)
        near = distance < reach
        return others[near], distance[near]

"""Group pixels into nuclei by the centres that they vote for."""

from dataclasses import dataclass

import cv2
import numpy as np

# In pixels. Votes within about a pixel of each other are one peak: they differ by rounding and noise.
_BLUR_SIGMA = 0.7

# A peak with less than this fraction of the votes of its nucleus is noise.
_SPECK = 0.02

# Up to so many peaks, each is compared with all: faster than a search tree, whose import takes as long as ten images.
_FEW_HEAPS = 1000

# Up to so many distances per pixel of the image, all are computed: faster than a distance transform.
_FEW_DISTANCES = 6


def gather_votes(
    foreground: np.ndarray, votes: np.ndarray, radius: np.ndarray, merge_distance: float, min_votes: float
) -> np.ndarray:
    """Label each foreground pixel by the peak of votes that its own vote belongs to.

    Peaks are the local maxima of the slightly blurred histogram of votes. A peak nearer to a larger one than
    `merge_distance` times the radius of both is merged into it. A peak with less than `min_votes` of the votes that a
    nucleus of its radius would give is dissolved: its votes go to the nearest remaining peak.

    Parameters
    ----------
    foreground : (H, W) ndarray of bool
    votes : (N, 2) ndarray of float
        Row and column, in pixels, that each foreground pixel (in the order of ``np.nonzero``) votes for.
    radius : (N,) ndarray of float
        Predicted radius, in pixels, of the nucleus of each foreground pixel.
    merge_distance : float
        In units of the radius.
    min_votes : float
        Fraction of a disk's area.

    Returns
    -------
    (H, W) ndarray of int32
        Label map, 0 = background, 1..n in the order of the rows of the peaks. Every foreground pixel has a label.
    """
    label_map = np.zeros(foreground.shape, np.int32)
    if not len(votes):
        return label_map
    height, width = foreground.shape
    rows, columns = np.rint(votes).astype(np.intp).clip(0, (height - 1, width - 1)).T
    cell = rows * width + columns
    histogram = np.bincount(cell, minlength=height * width)
    # From here on, work on the pixels that received votes: far fewer than votes.
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
    peak_of = ballots.nearest(peaks)

    # Specks first: then few peaks are near enough to each other to be compared, whatever was predicted.
    peaks, peak_of = _dissolve(peaks, peak_of, ballots, _SPECK)
    peaks, peak_of = _merge(peaks, peak_of, ballots, merge_distance)
    peaks, peak_of = _dissolve(peaks, peak_of, ballots, min_votes)
    label = np.empty(height * width, np.int32)
    label[hit] = peak_of + 1
    label_map[foreground] = label[cell]
    return label_map


@dataclass(frozen=True, eq=False)
class _Ballots:
    """The pixels that received votes.

    Attributes
    ----------
    places : (M, 2) ndarray of int
        Row and column.
    votes : (M,) ndarray of int
        Number of votes of each.
    radii : (M,) ndarray of float
        Sum of the radii of its voters.
    shape : (int, int)
        Of the image.
    """

    places: np.ndarray
    votes: np.ndarray
    radii: np.ndarray
    shape: tuple[int, int]

    def nearest(self, peaks: np.ndarray, chosen: np.ndarray | slice = np.s_[:]) -> np.ndarray:
        """Return the nearest peak of each of the chosen places; of many, one that is at most 5 % further."""
        places = self.places[chosen]
        if len(places) * len(peaks) <= _FEW_DISTANCES * self.shape[0] * self.shape[1]:
            return cv2.batchDistance(places.astype(np.float32), peaks.astype(np.float32), cv2.CV_32F, K=1)[1][:, 0]
        elsewhere = np.ones(self.shape, np.uint8)
        elsewhere[tuple(peaks.T)] = 0
        _, mark = cv2.distanceTransformWithLabels(
            elsewhere, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        number = np.empty(len(peaks) + 1, np.intp)
        number[mark[tuple(peaks.T)]] = np.arange(len(peaks))
        return number[mark[tuple(places.T)]]

    def measure(self, peak_of: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of votes of each peak, and the mean radius of its voters."""
        size = np.bincount(peak_of, self.votes, count)
        return size, np.bincount(peak_of, self.radii, count) / np.maximum(size, 1)


def _dissolve(
    peaks: np.ndarray, peak_of: np.ndarray, ballots: _Ballots, min_votes: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give the votes of peaks that have too few for their radius to the nearest of the others."""
    size, mean_radius = ballots.measure(peak_of, len(peaks))
    strong = size >= np.maximum(min_votes * np.pi * mean_radius**2, 1)
    if not strong.any():
        strong[size.argmax()] = True
    remaining = peaks[strong]
    number = np.cumsum(strong) - 1
    kept = strong[peak_of]
    result = number[peak_of]
    if not kept.all():
        result[~kept] = ballots.nearest(remaining, ~kept)
    return remaining, result


def _merge(
    peaks: np.ndarray, peak_of: np.ndarray, ballots: _Ballots, merge_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Merge each peak into the largest one near it that is not merged itself."""
    size, mean_radius = ballots.measure(peak_of, len(peaks))
    reach = merge_distance * mean_radius
    nearby = _Nearby(peaks)
    leader = np.where(nearby.nearest() < reach, -1, np.arange(len(peaks)))
    for largest in np.lexsort((-np.arange(len(peaks)), size))[::-1]:
        if leader[largest] < 0:
            others, distance = nearby.find(largest, reach[largest])
            leader[others[(leader[others] < 0) & (distance < reach[others])]] = largest
            leader[largest] = largest
    leaders, united = np.unique(leader, return_inverse=True)
    return peaks[leaders], united[peak_of]


class _Nearby:
    """Find the peaks near a peak."""

    def __init__(self, peaks: np.ndarray):
        self._peaks = peaks.astype(np.float32)
        self._everyone = np.arange(len(peaks))
        self._tree = None
        if len(peaks) > _FEW_HEAPS:
            from scipy.spatial import cKDTree

            self._tree = cKDTree(self._peaks)

    def nearest(self) -> np.ndarray:
        """Return the distance of each peak from the nearest other one."""
        if self._tree is not None:
            return self._tree.query(self._peaks, k=2)[0][:, 1]
        if len(self._peaks) == 1:
            return np.array([np.inf])
        return cv2.batchDistance(self._peaks, self._peaks, cv2.CV_32F, K=2)[0][:, 1]

    def find(self, peak: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers and distances of the peaks nearer than `reach`, itself among them."""
        others = self._everyone
        if self._tree is not None:
            others = np.asarray(self._tree.query_ball_point(self._peaks[peak], reach), np.intp)
        distance = np.hypot(*(self._peaks[others] - self._peaks[peak]).T)
        near = distance < reach
        return others[near], distance[near]

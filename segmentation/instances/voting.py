"""Gather pixels into nuclei by where they vote that the centre of their nucleus lies."""

import cv2
import numpy as np
from scipy.spatial import cKDTree

# Votes within about a pixel of each other are one heap: what remains of rounding and of the network's noise.
_BLUR_SIGMA = 0.7

# A heap with less than this fraction of the votes of its nucleus is noise.
_SPECK = 0.02


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
    cells = np.rint(votes).astype(np.intp).clip(0, (height - 1, width - 1))
    histogram = np.bincount(cells[:, 0] * width + cells[:, 1], minlength=height * width)
    histogram = cv2.GaussianBlur(histogram.reshape(height, width).astype(np.float32), (0, 0), _BLUR_SIGMA)
    is_peak = (histogram == cv2.dilate(histogram, np.ones((3, 3), np.uint8))) & (histogram > 1e-3)
    peaks = np.argwhere(is_peak)
    heap = cKDTree(peaks).query(cells)[1]

    # Specks first: with them gone, few heaps are near enough to each other to be compared, whatever was predicted.
    peaks, heap = _dissolve(peaks, heap, cells, radius, _SPECK)
    peaks, heap = _merge(peaks, heap, radius, merge_distance)
    peaks, heap = _dissolve(peaks, heap, cells, radius, min_votes)
    label_map[foreground] = heap + 1
    return label_map


def _dissolve(peaks, heap, cells, radius, min_votes):
    """Give the votes of heaps that are too small for their radius to the nearest of the others."""
    size, mean_radius = _measure(peaks, heap, radius)
    strong = size >= np.maximum(min_votes * np.pi * mean_radius**2, 1)
    if not strong.any():
        strong[size.argmax()] = True
    remaining = peaks[strong]
    number = np.cumsum(strong) - 1
    kept = strong[heap]
    result = number[heap]
    if not kept.all():
        result[~kept] = cKDTree(remaining).query(cells[~kept])[1]
    return remaining, result


def _merge(peaks, heap, radius, merge_distance):
    """Unite heaps that are parts of one: each joins the largest one near it that joins no other itself."""
    size, mean_radius = _measure(peaks, heap, radius)
    reach = merge_distance * mean_radius
    near = cKDTree(peaks).query_ball_point(peaks, reach)
    first = np.repeat(np.arange(len(peaks)), [len(others) for others in near])
    second = np.concatenate([np.asarray(others, np.intp) for others in near])
    distance = np.linalg.norm(peaks[first] - peaks[second], axis=1)
    close = (distance < np.minimum(reach[first], reach[second])) & (first != second)
    first, second = first[close], second[close]

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


def _measure(peaks, heap, radius):
    """Number of votes of each heap, and the mean radius that its pixels believe in."""
    size = np.bincount(heap, minlength=len(peaks))
    return size, np.bincount(heap, radius, len(peaks)) / np.maximum(size, 1)

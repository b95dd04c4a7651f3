"""Gather pixels into nuclei by where they vote that the centre of their nucleus lies."""

import cv2
import numpy as np
from scipy.spatial import cKDTree

# Votes within about a pixel of each other are one heap: what remains of rounding and of the network's noise.
_BLUR_SIGMA = 0.7


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

    nearest = cKDTree(peaks).query(cells)[1]
    peaks, heap_of_peak = _merge(peaks, nearest, radius, merge_distance)
    heap = heap_of_peak[nearest]

    size = np.bincount(heap, minlength=len(peaks))
    mean_radius = np.bincount(heap, radius, len(peaks)) / np.maximum(size, 1)
    strong = size >= np.maximum(min_votes * np.pi * mean_radius**2, 1)
    if not strong.any():
        strong[size.argmax()] = True
    weak_votes = ~strong[heap]
    if weak_votes.any():
        remaining = np.flatnonzero(strong)
        heap[weak_votes] = remaining[cKDTree(peaks[remaining]).query(cells[weak_votes])[1]]

    label_map[foreground] = np.cumsum(strong)[heap]
    return label_map


def _merge(peaks, nearest, radius, merge_distance):
    """Unite peaks that are parts of one heap; return the heaps' positions and the heap of each peak."""
    size = np.bincount(nearest, minlength=len(peaks))
    mean_radius = np.bincount(nearest, radius, len(peaks)) / np.maximum(size, 1)
    leader = np.arange(len(peaks))
    pairs = cKDTree(peaks).query_pairs(merge_distance * mean_radius.max(), output_type="ndarray")
    if len(pairs):
        distance = np.linalg.norm(peaks[pairs[:, 0]] - peaks[pairs[:, 1]], axis=1)
        pairs = pairs[distance < merge_distance * mean_radius[pairs].min(axis=1)]
        # From the largest heap on, in a strict order, so that no leader is itself led.
        by_size = np.argsort(-size, kind="stable")
        rank = np.empty_like(by_size)
        rank[by_size] = np.arange(len(by_size))
        ranks = np.sort(rank[pairs], axis=1)
        for large, small in by_size[ranks[np.lexsort((ranks[:, 1], ranks[:, 0]))]]:
            if leader[large] == large and leader[small] == small:
                leader[small] = large
    leaders, heap_of_peak = np.unique(leader, return_inverse=True)
    return peaks[leaders], heap_of_peak

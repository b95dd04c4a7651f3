"""Find the images that show one field: tiles whose edges continue one another, and near-duplicates.

A random split puts such siblings on both sides, and the score then tells how well the network remembers.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmentation.data.fingerprints import Fingerprint

# Correlation of touching edges. In the Bowl's data every pair above 0.97 is a pair of neighbours; between 0.95 and 0.97
# two thirds are chance.
MIN_CORRELATION = 0.97
# What is left of an edge without its smooth part must agree as well. The shading of a lamp is smooth and the same in
# every image: an end that resembles most starts in the data set by this much is shaded, and must agree better.
MIN_FINE_CORRELATION = 0.3
SHADED_CORRELATION = 0.5
MIN_FINE_CORRELATION_SHADED = 0.8
# An edge is smoothed over this fraction of its length; a thumbnail over this fraction of its side.
SMOOTHING = 8
# An edge with less contrast than this share of the whole picture's is background, and all background looks alike.
MIN_CONTRAST = 0.1
# Rows of the correlation matrix computed at once: 1,024 x 10,000 images take 40 MB.
BLOCK = 1024


def find_groups(fingerprints: Mapping[str, Fingerprint]) -> dict[str, str]:
    """Group the images that show one field.

    Two images of the same size and kind are linked if the last row (or column) of one and the first of the other
    correlate by more than 0.97, and by more than 0.3 once both are rid of what is smooth over an eighth of their
    length (0.8 for an edge whose median correlation with those of all others is above 0.5: shading, not content); or if
    their 32 x 32 thumbnails do. Edges whose standard deviation is below a tenth of the picture's take no
    part. Images linked directly or through others are a group.

    Chance may link edges that cross no more than a nucleus or two, in small tiles above all. That keeps images together
    that could have been apart, never the other way round.

    Parameters
    ----------
    fingerprints : mapping of str to Fingerprint
        By sample id.

    Returns
    -------
    dict of str to str
        Group of each id: "0", "1", ... in the order of their first id. An image without siblings is a group of its own.
    """
    ids = sorted(fingerprints)
    alike = defaultdict(list)
    for number, sample_id in enumerate(ids):
        marks = fingerprints[sample_id]
        alike[marks.shape, marks.kind].append(number)
    links = [(number, number) for number in range(len(ids))]
    for numbers in alike.values():
        marks = [fingerprints[ids[number]] for number in numbers]
        contrast = np.array([mark.thumbnail.std() for mark in marks])
        for before, after in (("bottom", "top"), ("right", "left")):
            ends = np.stack([getattr(mark, before) for mark in marks])
            starts = np.stack([getattr(mark, after) for mark in marks])
            links += [(numbers[a], numbers[b]) for a, b in _continuing(ends, starts, contrast)]
        thumbnails = np.stack([mark.thumbnail for mark in marks])
        links += [(numbers[a], numbers[b]) for a, b in _continuing(thumbnails, thumbnails, contrast)]
    if not ids:
        return {}
    adjacency = coo_array((np.ones(len(links), bool), tuple(np.array(links).T)), shape=(len(ids), len(ids)))
    _, components = connected_components(adjacency, directed=False)
    names: dict[int, str] = {}
    return {sample_id: names.setdefault(int(c), str(len(names))) for sample_id, c in zip(ids, components, strict=True)}


def _continuing(ends: np.ndarray, starts: np.ndarray, contrast: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs (a, b), a != b, of which end a goes on in start b; (n, ...) arrays, one line or thumbnail each."""
    coarse = _standardised(ends, contrast), _standardised(starts, contrast)
    fine = _standardised(_without_smooth(ends), 0 * contrast), _standardised(_without_smooth(starts), 0 * contrast)
    for first in range(0, len(ends), BLOCK):
        rows = slice(first, first + BLOCK)
        correlation = coarse[0][rows] @ coarse[1].T
        shaded = np.median(correlation, axis=1, keepdims=True) > SHADED_CORRELATION
        needed = np.where(shaded, MIN_FINE_CORRELATION_SHADED, MIN_FINE_CORRELATION)
        linked = (correlation > MIN_CORRELATION) & (fine[0][rows] @ fine[1].T > needed)
        for a, b in np.argwhere(linked):
            if first + a != b:
                yield int(first + a), int(b)


def _standardised(lines: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Lines as unit vectors without mean, so that their products are correlations; 0 where contrast is too low."""
    lines = lines.reshape(len(lines), -1).astype(np.float32)
    lines = lines - lines.mean(axis=1, keepdims=True)
    deviation = lines.std(axis=1)
    usable = deviation > np.maximum(MIN_CONTRAST * contrast, 1e-9)
    scale = np.where(usable, 1 / np.maximum(deviation, 1e-9) / np.sqrt(lines.shape[1]), 0)
    return lines * scale[:, None].astype(np.float32)


def _without_smooth(lines: np.ndarray) -> np.ndarray:
    """Lines or thumbnails minus their moving average, without the ends, where that is not centred."""
    # Odd: half a pixel aside, a slope would be left.
    window = [1] + [length // SMOOTHING | 1 for length in lines.shape[1:]]
    fine = lines - uniform_filter(lines, window)
    return fine[tuple(slice(size // 2, length - size // 2) for size, length in zip(window, lines.shape, strict=True))]

"""Find the images that show one field: tiles whose edges continue one another, and near-duplicates.

A random split puts such images into train and test, and the score then shows how well the network remembers.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmentation.data.fingerprints import Fingerprint

# Correlation of touching edges. In the Bowl's data all pairs above 0.97 are neighbours; from 0.95 to 0.97 a third is.
MIN_CORRELATION = 0.97
# The edges must also correlate without their smooth part. Uneven illumination is smooth and the same in every image: an
# edge whose median correlation with all others is above 0.5 is taken for shading and must correlate more.
MIN_FINE_CORRELATION = 0.3
SHADED_CORRELATION = 0.5
MIN_FINE_CORRELATION_SHADED = 0.8
# Edges and thumbnails are smoothed over an eighth of their length.
SMOOTHING = 8
# An edge with less than this share of the contrast of its image is background, and all background looks alike.
MIN_CONTRAST = 0.1
# Rows of the correlation matrix computed at once: 1,024 x 10,000 images take 40 MB.
BLOCK = 1024


def find_groups(fingerprints: Mapping[str, Fingerprint]) -> dict[str, str]:
    """Group the images that show one field.

    Two images of the same size and kind are linked if the last row (or column) of one and the first of the other
    correlate by more than 0.97, and by more than 0.3 (0.8 for shading) after subtracting their moving average over an
    eighth of their length; or if their 32 x 32 thumbnails do. Edges whose standard deviation is below a tenth of that
    of the image are ignored. Images that are linked, directly or through others, are a group.

    Edges that cross only a nucleus or two may correlate by chance, mostly in small tiles. Images are then grouped that
    need not be, which does no harm.

    Parameters
    ----------
    fingerprints : mapping of str to Fingerprint
        By sample id.

    Returns
    -------
    dict of str to str
        Group of each id: "0", "1", ... in the order of their first id. An image without siblings is a group of its own.
    """
    if not fingerprints:
        return {}
    ids = sorted(fingerprints)
    alike = defaultdict(list)
    for number, sample_id in enumerate(ids):
        alike[fingerprints[sample_id].shape, fingerprints[sample_id].kind].append(number)
    links = [(number, number) for number in range(len(ids))]
    for numbers in alike.values():
        marks = [fingerprints[ids[number]] for number in numbers]
        contrast = np.array([mark.thumbnail.std() for mark in marks])
        for before, after in (("bottom", "top"), ("right", "left"), ("thumbnail", "thumbnail")):
            ends = np.stack([getattr(mark, before) for mark in marks])
            starts = np.stack([getattr(mark, after) for mark in marks])
            links += [(numbers[a], numbers[b]) for a, b in _continuing(ends, starts, contrast)]
    adjacency = coo_array((np.ones(len(links), bool), tuple(np.array(links).T)), shape=(len(ids), len(ids)))
    _, components = connected_components(adjacency, directed=False)
    names: dict[int, str] = {}
    return {sample_id: names.setdefault(int(c), str(len(names))) for sample_id, c in zip(ids, components, strict=True)}


def _continuing(ends: np.ndarray, starts: np.ndarray, contrast: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield pairs (a, b), a != b, where end a correlates with start b; (n, ...) arrays of n lines or thumbnails."""
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
    """Return lines as unit vectors with mean 0, whose products are correlations; 0 where the contrast is too low."""
    lines = lines.reshape(len(lines), -1).astype(np.float32)
    lines = lines - lines.mean(axis=1, keepdims=True)
    deviation = lines.std(axis=1)
    usable = deviation > np.maximum(MIN_CONTRAST * contrast, 1e-9)
    scale = np.where(usable, 1 / np.maximum(deviation, 1e-9) / np.sqrt(lines.shape[1]), 0)
    return lines * scale[:, None].astype(np.float32)


def _without_smooth(lines: np.ndarray) -> np.ndarray:
    """Return lines or thumbnails minus their moving average, without the ends, where that is not centred."""
    # Odd: an even window is half a pixel off centre, which leaves a slope.
    window = [1] + [length // SMOOTHING | 1 for length in lines.shape[1:]]
    fine = lines - uniform_filter(lines, window)
    return fine[tuple(slice(size // 2, length - size // 2) for size, length in zip(window, lines.shape, strict=True))]

"""Encoding "centre_offsets": each foreground pixel points at the centre of its nucleus.

Nuclei are separated by their centres. Two whose centres are nearer to each other than 0.6 radii of the smaller one,
such as threads side by side, come out as one; so does a dot within three pixels of the centre of the nucleus around it.
"""

from collections.abc import Callable

import numpy as np

from segmentation.targets.geometry import measure_nuclei
from segmentation.targets.voting import gather_votes

name = "centre_offsets"
channels = ("foreground", "row_offset", "column_offset", "log_radius")
activations = ("sigmoid", "linear", "linear", "linear")
vectors = ((1, 2),)
log_lengths = (3,)

# Offsets are given to the network in units of 8 pixels, which makes them about 1 for a nucleus of median size.
OFFSET_SCALE = 8.0

# Each pixel follows 2 ** _DOUBLINGS offsets: the first ends near the centre, where offsets are small and exact.
_DOUBLINGS = 4
# In pixels; keeps the offsets of a bad network within the range of an integer.
_FURTHEST = 1_000_000
_MERGE_DISTANCE = 0.6
_MIN_VOTES = 0.3


def encode(label_map: np.ndarray) -> np.ndarray:
    """Encode a label map: foreground (0 or 1), offset to the centre of the nucleus, binary logarithm of its radius.

    Offsets are along rows and columns, in units of `OFFSET_SCALE` pixels; the radius is in pixels. All are 0 in the
    background.
    """
    nuclei = measure_nuclei(label_map)
    targets = np.zeros((*label_map.shape, len(channels)), np.float32)
    targets[nuclei.rows, nuclei.columns] = np.stack(
        [
            np.ones(len(nuclei.rows)),
            (nuclei.centre_rows - nuclei.rows) / OFFSET_SCALE,
            (nuclei.centre_columns - nuclei.columns) / OFFSET_SCALE,
            np.log2(nuclei.radius),
        ],
        axis=-1,
    )
    return targets


def decode(predicted: np.ndarray, foreground: float = 0.5) -> np.ndarray:
    """Decode channels.

    Each foreground pixel jumps to the pixel that its offset points at, and from there by the offset found there; pixels
    that end at one place are one nucleus. The place after 2 n jumps follows from that after n. Sixteen jumps gave an
    AP50 of 0.746 on validation images of the 2018 Data Science Bowl, four 0.743.
    """
    is_foreground = predicted[..., 0] > foreground
    height, width = (np.int32(length) for length in is_foreground.shape)
    place = np.flatnonzero(is_foreground)
    rows, columns = np.divmod(place.astype(np.int32), width)
    at_place = predicted.reshape(-1, len(channels)).take(place, axis=0)
    jumps = np.rint(at_place[:, 1:3] * OFFSET_SCALE).clip(-_FURTHEST, _FURTHEST).astype(np.int32)
    landing = (rows + jumps[:, 0]).clip(0, height - 1) * width + (columns + jumps[:, 1]).clip(0, width - 1)
    # Pixels that have left the foreground stay.
    lands_at = np.arange(is_foreground.size, dtype=np.int32)
    for _ in range(_DOUBLINGS):
        lands_at[place] = landing
        landing = lands_at[landing]
    votes = np.stack(np.divmod(landing, width), axis=-1)
    # At most a thousand pixels, so that the radius of a bad network is finite.
    radius = np.exp2(at_place[:, 3].clip(-1, 10))
    return gather_votes(is_foreground, votes, radius, _MERGE_DISTANCE, _MIN_VOTES)


def median_diameter(predicted: np.ndarray, foreground: float = 0.5) -> float | None:
    """Return the median over the foreground pixels of the predicted diameter of their nucleus.

    In pixels; None without foreground. Large nuclei have more pixels and so more weight.
    """
    log_radius = predicted[..., 3][predicted[..., 0] > foreground]
    return float(2 * np.exp2(np.median(log_radius))) if log_radius.size else None


def agreement(
    at_pixels: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    mean: Callable[[np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """Return how far the pixels of each nucleus agree on its centre and its radius; see `Encoding.agreement`.

    ``vote_spread`` is the root mean square distance, in pixels, of the places that they point at from their mean;
    ``log_radius`` the mean of the binary logarithm of the radius, and ``radius_spread`` its standard deviation.
    """
    row, column = rows + at_pixels[1] * OFFSET_SCALE, columns + at_pixels[2] * OFFSET_SCALE
    log_radius = mean(at_pixels[3])

    def spread(squares: np.ndarray, *means: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(mean(squares) - sum(one**2 for one in means), 0))

    return {
        "vote_spread": spread(row**2 + column**2, mean(row), mean(column)),
        "log_radius": log_radius,
        "radius_spread": spread(at_pixels[3] ** 2, log_radius),
    }

"""Which true nucleus overlaps which predicted one, and by how many pixels."""

from dataclasses import dataclass

import numpy as np

# Pixels in a band of rows.
_BAND_PIXELS = 1 << 22


@dataclass(frozen=True)
class Overlap:
    """Sparse contingency table of two label maps, all int64. Background (0) is in none of the arrays."""

    true_areas: np.ndarray  # (n,), pixels of each true nucleus, in the order of their labels
    predicted_areas: np.ndarray  # (m,), likewise
    true_index: np.ndarray  # (k,), with `predicted_index` the pairs that share pixels, as indices into the areas
    predicted_index: np.ndarray  # (k,)
    shared: np.ndarray  # (k,), pixels that each pair shares, at least 1

    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, (k,) float64 in (0, 1]."""
        union = self.true_areas[self.true_index] + self.predicted_areas[self.predicted_index] - self.shared
        return self.shared / union


def overlap(truth: np.ndarray, prediction: np.ndarray) -> Overlap:
    """Count the pixels that the nuclei of two label maps share.

    Both are (H, W) of integers or bool; 0 is background, and labels need not be consecutive. Memory grows with the
    pairs that overlap, not with all possible pairs, and maps are read in bands of rows: slides of 100,000 nuclei fit.
    Raises ValueError if the shapes differ, or the arrays are not two-dimensional maps of labels >= 0.
    """
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if len(labels.shape) != 2 or labels.dtype.kind not in "biu":
            raise ValueError(
                f"{name} is a {labels.dtype} array of shape {labels.shape}; expected a label map, (H, W) of integers."
            )
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has the shape {truth.shape}, prediction {prediction.shape}; expected equal shapes.")

    rows = max(1, _BAND_PIXELS // max(1, truth.shape[1]))
    bands = [_runs(truth[top : top + rows], prediction[top : top + rows]) for top in range(0, truth.shape[0], rows)]
    # A run of no pixel of background, so that there is one in every map and it comes first.
    bands.append((np.zeros(1, np.int64),) * 3)
    true_label, predicted_label, length = (np.concatenate(column) for column in zip(*bands, strict=True))
    if min(true_label.min(initial=0), predicted_label.min(initial=0)) < 0:
        raise ValueError("a label map holds a negative value; expected 0 for background and 1..n for nuclei.")

    true_labels, true_index = np.unique(true_label, return_inverse=True)
    predicted_labels, predicted_index = np.unique(predicted_label, return_inverse=True)
    pairs, pair = np.unique(true_index * len(predicted_labels) + predicted_index, return_inverse=True)
    shared = _sum(pair, length, len(pairs))
    true_index, predicted_index = np.divmod(pairs, len(predicted_labels))

    nuclei = (true_index > 0) & (predicted_index > 0)
    return Overlap(
        true_areas=_sum(true_index, shared, len(true_labels))[1:],
        predicted_areas=_sum(predicted_index, shared, len(predicted_labels))[1:],
        true_index=true_index[nuclei] - 1,
        predicted_index=predicted_index[nuclei] - 1,
        shared=shared[nuclei],
    )


def _runs(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return runs of equal pairs of labels along the rows, far fewer than pixels: two labels and the length."""
    truth, prediction = np.ravel(truth).astype(np.int64), np.ravel(prediction).astype(np.int64)
    changes = (truth[1:] != truth[:-1]) | (prediction[1:] != prediction[:-1])
    starts = np.concatenate([np.zeros(min(1, truth.size), np.int64), np.flatnonzero(changes) + 1])
    return truth[starts], prediction[starts], np.diff(starts, append=truth.size)


def _sum(index: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    # bincount adds in float64, which is exact up to 2**53 pixels.
    return np.bincount(index, weights, size).astype(np.int64)

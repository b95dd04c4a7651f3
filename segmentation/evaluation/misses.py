"""Why true nuclei are missed."""

import numpy as np

from segmentation.evaluation.overlap import Overlap

#: Checked in this order; the first that applies counts.
REASONS = ("not seen", "fused with another", "split", "outline")

# Fractions of the pixels of a nucleus.
_SEEN, _HELD, _SPLIT = 0.3, 0.5, 0.6


def count_misses(pairs: Overlap) -> tuple[int, ...]:
    """Count the true nuclei that no prediction matches at IoU > 0.5, by the reason.

    ======================  ===================================================================================
    ``not seen``            less than 0.3 of its pixels lie in predicted nuclei
    ``fused with another``  the predicted nucleus that shares most with it holds more than half of it, and more
                            than 0.3 of another true nucleus
    ``split``               less than 0.6 of its predicted pixels lie in one predicted nucleus
    ``outline``             none of these: predicted, but too large, too small or displaced
    ======================  ===================================================================================

    Returns a count for each of `REASONS`; all 0 without true nuclei.
    """
    count = len(pairs.true_areas)
    order = np.lexsort((pairs.shared, pairs.true_index))
    true, predicted, shared = pairs.true_index[order], pairs.predicted_index[order], pairs.shared[order]
    covered = np.bincount(true, shared, count)
    best = np.full(count, -1)
    best[true] = predicted  # sorted: the last assignment is the one that shares most
    most = np.zeros(count)
    most[true] = shared

    nuclei_held = np.bincount(predicted[shared > _SEEN * pairs.true_areas[true]], minlength=len(pairs.predicted_areas))
    holds_another = np.zeros(count, bool)
    seen = best >= 0
    holds_another[seen] = nuclei_held[best[seen]] > (most > _SEEN * pairs.true_areas)[seen]

    missed = np.ones(count, bool)
    missed[pairs.true_index[pairs.iou() > 0.5]] = False
    conditions = (
        covered < _SEEN * pairs.true_areas,
        (most > _HELD * pairs.true_areas) & holds_another,
        most < _SPLIT * covered,
    )
    counts = []
    for condition in conditions:
        counts.append(int((missed & condition).sum()))
        missed &= ~condition
    return (*counts, int(missed.sum()))

"""What decoding knows about each nucleus that tells how far to trust its outline, without running the network again."""

from collections.abc import Mapping

import numpy as np

from segmentation.targets.encodings import Encoding

# Features are logarithms of these quantities, none of which is measured more finely than this.
_LEAST_DOUBT, _LEAST_SPREAD = 1e-4, 0.02

#: By nucleus: its area in pixels, and means over its pixels.
Evidence = dict[str, np.ndarray]

#: Features of a nucleus: those that all encodings give, and those of encodings that predict centres and radii.
FOREGROUND_FEATURES = ("certainty", "typical", "size")
AGREEMENT_FEATURES = ("votes", "radii", "whole")
#: Features of a picture.
IMAGE_FEATURES = ("score", "certainty", "radii")


def feature_names(encoding: Encoding) -> tuple[str, ...]:
    """Return the features of nuclei that an encoding gives."""
    return FOREGROUND_FEATURES + (AGREEMENT_FEATURES if encoding.vectors else ())


def gather_evidence(channels: np.ndarray, labels: np.ndarray, encoding: Encoding) -> Evidence:
    """Measure the nuclei of an image, or of a window of one.

    Parameters
    ----------
    channels : (H, W, C) ndarray of float32
        What the network gave.
    labels : (H, W) ndarray of int32
        The nuclei that were decoded from it: 0 = background, 1..n.
    encoding : Encoding
        Of the channels.

    Returns
    -------
    dict of str to (n,) ndarray of float64
        ``area``; ``probability`` of foreground; and what `Encoding.agreement` gives.
    """
    count = int(labels.max(initial=0))
    place = np.flatnonzero(labels > 0)  # of bool: four times as fast as of integers
    nucleus = labels.ravel()[place]
    at_place = channels.reshape(-1, channels.shape[-1]).take(place, axis=0).T.astype(float)
    # Sums over the runs of a nucleus along the rows, of which there are far fewer than pixels, then over the nucleus.
    starts = np.flatnonzero(np.diff(nucleus, prepend=0))
    of_run = nucleus[starts] - 1
    area = np.bincount(of_run, np.diff(starts, append=len(place)), count)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(of_run, np.add.reduceat(values, starts), count) / area

    agreement = encoding.agreement(at_place, *np.divmod(place, labels.shape[1]), mean)
    return {"area": area, "probability": mean(at_place[0]), **agreement}


def features_of(evidence: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the features of all nuclei of a picture, (n,) each, the greater the better.

    ============  =================================================================================================
    `certainty`   of the foreground: -ln(1 - mean probability)
    `typical`     -|log2| of the radius over the median radius in the picture
    `size`        log2 of the radius in pixels: a pixel of the outline weighs less in a large nucleus
    `votes`       -ln of the spread of the centres that the pixels point at, in radii
    `radii`       -ln of the spread of log2 of the radius that the pixels predict
    `whole`       0, or less if the pixels belong to a larger nucleus than was found: log2 of its radius over theirs
    ============  =================================================================================================

    The last three are there only if the encoding predicts centres and radii.
    """
    size = np.log2(evidence["area"] / np.pi) / 2
    features = {
        "certainty": -np.log(np.maximum(1 - evidence["probability"], _LEAST_DOUBT)),
        "typical": -np.abs(size - np.median(size)) if len(size) else size,
        "size": size,
    }
    if "log_radius" in evidence:
        spread = evidence["vote_spread"] / np.exp2(size)
        features["votes"] = -np.log(np.maximum(spread, _LEAST_SPREAD))
        features["radii"] = -np.log(np.maximum(evidence["radius_spread"], _LEAST_SPREAD))
        features["whole"] = -np.maximum(evidence["log_radius"] - size, 0)
    return features


def image_features(evidence: Mapping[str, np.ndarray], scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return the features of a picture with nuclei: the log-odds of their mean score, and means of their features."""
    score = np.clip(scores.mean(), 1e-6, 1 - 1e-6)
    means = {name: values.mean() for name, values in features_of(evidence).items() if name in IMAGE_FEATURES}
    return {"score": np.log(score / (1 - score)), **means}

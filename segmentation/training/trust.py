"""Fit on validation images how far to trust a model: the coefficients of `segmentation.prediction.trust`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import minimize

from segmentation.bundle import Bundle
from segmentation.data.cache import CachedImages
from segmentation.evaluation.overlap import overlap
from segmentation.evaluation.scores import score_image
from segmentation.prediction.appearance import look_at
from segmentation.prediction.engines import open_engine
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.trust import Trust
from segmentation.targets.encodings import ENCODINGS, Encoding
from segmentation.targets.evidence import IMAGE_FEATURES, Evidence, features_of, gather_evidence, image_features
from segmentation.training.sampling import as_network_input

#: A fit on fewer nuclei would be noise: a model with fewer in its validation images gets no coefficients.
FEWEST_NUCLEI = 50
# Ridge penalties of the weights of standardised features, chosen by cross-validation over fields.
_NUCLEUS_RIDGE, _IMAGE_RIDGE = 10.0, 1.0
# Of two stains that differ by less, one stands for both.
_SAME_STAIN = 0.02


@dataclass(frozen=True, eq=False)
class Observation:
    """What was found in an image, and how well it matches the truth."""

    evidence: Evidence
    ious: np.ndarray  # (n,) of each found nucleus with the true one that it overlaps most
    dice: float
    ap50: float


def with_trust(bundle: Bundle, images: CachedImages, trained_on: CachedImages) -> Bundle:
    """Fit how far to trust the results of a bundle on its validation images; return the bundle with the coefficients.

    The images are predicted as ``predict_masks.py`` does by default. What they and those of `trained_on` look like is
    what later pictures are compared with.
    """
    diameter: Literal["auto"] | None = "auto" if bundle.diameter else None
    predictor = open_predictor(bundle, open_engine(bundle, precision="f32"), diameter=diameter)
    observations = []
    for index in range(len(images)):
        output = predictor.predict_at_best([as_network_input(images.pixels(index))])[0]
        truth, encoding = images.label_map(index), ENCODINGS[bundle.targets]
        observations.append(observe(output.channels, output.label_map(), truth, encoding))
    return replace(
        bundle, trust=fit_trust(observations, describe_images([trained_on, images]), ENCODINGS[bundle.targets])
    )


def describe_trust(bundle: Bundle) -> str:
    """Say in a line what the scores of a bundle follow."""
    if not bundle.trust:
        return f"no scores of nuclei: fewer than {FEWEST_NUCLEI} were found to fit them on"
    weights = ", ".join(f"{name} {weight:g}" for name, weight in bundle.trust["nucleus"]["weights"].items())
    return f"score of a nucleus: rises with {weights}"


def observe(channels: np.ndarray, labels: np.ndarray, truth: np.ndarray, encoding: Encoding) -> Observation:
    """Compare the nuclei found in an image, (H, W) int32, with the true ones; `channels` are what the network gave."""
    pairs = overlap(truth, labels)
    ious = np.zeros(len(pairs.predicted_areas))
    np.maximum.at(ious, pairs.predicted_index, pairs.iou())
    score = score_image(truth, labels)
    return Observation(gather_evidence(channels, labels, encoding), ious, score.dice, score.average_precision[0])


def fit_trust(observations: Sequence[Observation], training_images: dict, encoding: Encoding) -> dict:
    """Fit the coefficients of `Trust`, in JSON's types; none, an empty dict, if too few nuclei were found.

    Each is a logistic regression on a figure between 0 and 1, with weights that are not negative. The nuclei of an
    image weigh the less the more there are: fields with many would decide alone.
    """
    found = [one for one in observations if len(one.ious)]
    if sum(len(one.ious) for one in found) < FEWEST_NUCLEI:
        return {}
    by_image = [features_of(one.evidence) for one in found]
    features = {name: np.concatenate([own[name] for own in by_image]) for name in by_image[0]}
    weights = np.concatenate([np.full(len(one.ious), len(one.ious) ** -0.5) for one in found])
    nucleus = fit_logistic(features, np.concatenate([one.ious for one in found]), weights, _NUCLEUS_RIDGE)
    trust = Trust(encoding, nucleus, {}, {}, training_images)
    of_images = [image_features(one.evidence, trust.scores(one.evidence)) for one in found]
    features = {name: np.array([own[name] for own in of_images]) for name in IMAGE_FEATURES if name in of_images[0]}
    dice, ap50 = (
        fit_logistic(features, np.array([getattr(one, figure) for one in found]), np.ones(len(found)), _IMAGE_RIDGE)
        for figure in ("dice", "ap50")
    )
    return {"nucleus": nucleus, "dice": dice, "ap50": ap50, "training_images": training_images}


def fit_logistic(features: Mapping[str, np.ndarray], truth: np.ndarray, weights: np.ndarray, ridge: float) -> dict:
    """Fit ``truth = 1 / (1 + exp(-(bias + sum of weight * feature)))`` with weights >= 0; return bias and weights.

    `features`, `truth` between 0 and 1 and `weights` are (n,) each. Minimises the weighted cross-entropy, the weights
    scaled to a mean of 1, and `ridge` / 2 times the squares of the weights of the standardised features.
    """
    values = np.stack(list(features.values()), axis=-1)
    centre, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    design = np.column_stack([np.ones(len(values)), (values - centre) / spread])
    weights = weights / weights.mean()
    penalty = np.array([1e-3, *[ridge] * len(features)])  # of the bias just enough that it stays finite

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        total = design @ coefficients
        value = (weights * (np.logaddexp(0, total) - truth * total)).sum() + penalty @ coefficients**2 / 2
        return value, design.T @ (weights * (1 / (1 + np.exp(-total)) - truth)) + penalty * coefficients

    bounds = [(None, None)] + [(0, None)] * len(features)
    bias, *slopes = minimize(loss, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds).x
    raw = np.array(slopes) / spread
    rounded = {name: round(float(weight), 5) for name, weight in zip(features, raw, strict=True)}
    return {"bias": round(float(bias - raw @ centre), 5), "weights": rounded}


def describe_images(subsets: Sequence[CachedImages]) -> dict:
    """Return what the images of a training look like, for `Trust.training_images`."""
    looks, diameters = [], []
    for images in subsets:
        for index in range(len(images)):
            looks.append(look_at(as_network_input(images.pixels(index))))
            areas = np.bincount(images.label_map(index).ravel())[1:]
            if len(areas):
                diameters.append(float(np.median(np.sqrt(areas * 4 / np.pi))))
    sharpness = {
        kind: [round(end(look.sharpness for look in looks if look.kind == kind), 4) for end in (min, max)]
        for kind in sorted({look.kind for look in looks})
    }
    stains: list[np.ndarray] = []
    for stain in np.array([look.stain for look in looks]):
        if not stains or np.linalg.norm(np.array(stains) - stain, axis=1).min() > _SAME_STAIN:
            stains.append(stain)
    ends = np.percentile(diameters, (1, 99)).round(2).tolist() if diameters else [0.0, 0.0]
    return {"sharpness": sharpness, "diameter": ends, "stains": np.round(stains, 3).tolist()}

"""Scores of one predicted label map, and figures for a set of images.

Every figure for a set is a function of sums over its images, which makes the bootstrap of `intervals.py` fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from segmentation.evaluation.misses import count_misses
from segmentation.evaluation.overlap import overlap

#: 0.50, 0.55 .. 0.95, each the float nearest to the decimal number.
IOU_THRESHOLDS = np.arange(50, 100, 5) / 100
#: Names of the average precision at each of them.
AP_NAMES = tuple(f"ap{percent}" for percent in range(50, 100, 5))


@dataclass(frozen=True)
class ImageScore:
    """Counts of one image, from which all scores follow.

    Foreground pixels of the truth, of the prediction, and of both; nuclei; nuclei `matched` at IoU > t, for each t of
    `IOU_THRESHOLDS`; and the true nuclei not matched at IoU > 0.5, for each of `misses.REASONS`.

    References
    ----------
    .. [1] Dice, Measures of the amount of ecologic association between species, Ecology 26, 297-302, 1945.
    .. [2] Jaccard, The distribution of the flora in the alpine zone, New Phytologist 11, 37-50, 1912.
    .. [3] Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018, section 3.2. arXiv:1806.03535
    .. [4] Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl,
       Nature Methods 16, 1247-1253, 2019.
    """

    true_pixels: int
    predicted_pixels: int
    shared_pixels: int
    true_nuclei: int
    predicted_nuclei: int
    matched: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def dice(self) -> float:
        """Dice coefficient of the foreground [1]_, 2 |A and B| / (|A| + |B|); 1.0 where both are empty."""
        return float(_ratio(2 * self.shared_pixels, self.true_pixels + self.predicted_pixels))

    @property
    def iou(self) -> float:
        """Intersection over union of the foreground [2]_, |A and B| / |A or B|; 1.0 where both are empty."""
        return float(_ratio(self.shared_pixels, self.true_pixels + self.predicted_pixels - self.shared_pixels))

    @property
    def average_precision(self) -> np.ndarray:
        """TP / (TP + FP + FN) at each of `IOU_THRESHOLDS` [3]_, (10,) float64; 1.0 without any nuclei on both sides."""
        matched = np.array(self.matched)
        return _ratio(matched, self.true_nuclei + self.predicted_nuclei - matched)

    @property
    def bowl(self) -> float:
        """Mean of `average_precision` over the ten thresholds: the image's score in the 2018 Data Science Bowl [4]_."""
        return float(self.average_precision.mean())


def score_image(truth: np.ndarray, prediction: np.ndarray) -> ImageScore:
    """Compare a predicted label map with the truth.

    A true and a predicted nucleus are matched at the threshold t if their IoU > t (not >=). As t >= 0.5, a nucleus
    has at most one such partner, so that no assignment is needed.

    Both are label maps, (H, W) of integers: 0 is background, each nucleus has a label of its own.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1, 1, 1, 0, 2, 2]])
    >>> score = score_image(truth, np.array([[5, 5, 5, 5, 0, 0]]))
    >>> round(score.dice, 3), score.matched[:6]
    (0.667, (1, 1, 1, 1, 1, 0))
    """
    pairs = overlap(truth, prediction)
    iou = pairs.iou()
    return ImageScore(
        true_pixels=int(pairs.true_areas.sum()),
        predicted_pixels=int(pairs.predicted_areas.sum()),
        shared_pixels=int(pairs.shared.sum()),
        true_nuclei=len(pairs.true_areas),
        predicted_nuclei=len(pairs.predicted_areas),
        matched=tuple(int((iou > threshold).sum()) for threshold in IOU_THRESHOLDS),
        missed=count_misses(pairs),
    )


def set_figures(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Compute the figures for a set of images.

    ========================  =========================================================================================
    `dice`, `iou`             of the foreground: mean over the images
    `dice_pooled`             2 |A and B| / (|A| + |B|) over all pixels of all images
    `iou_pooled`              |A and B| / |A or B| over all pixels of all images
    `ap50`, `ap55` .. `ap95`  TP / (TP + FP + FN) over all nuclei of all images, matched at IoU > 0.50 .. 0.95
    `mean_ap`                 mean of `ap50` .. `ap90`, nine thresholds, as papers report it
    `bowl`                    mean over the images of `ImageScore.bowl`: the score of the 2018 Data Science Bowl
    ========================  =========================================================================================

    A pooled figure is 1.0 where no image has anything in the truth or in the prediction.

    At least one score is expected. `ImageScore` names the sources of the figures.
    """
    return {name: float(value) for name, value in figures_of_sums(summands(scores).sum(0)).items()}


def summands(scores: Sequence[ImageScore]) -> np.ndarray:
    """Return what each image adds to the sums that `figures_of_sums` takes, (N, 27) float64."""
    if not scores:
        raise ValueError("there are no scores; expected those of at least one image.")
    return np.array(
        [
            [
                *(1, score.dice, score.iou, score.bowl),
                *(score.true_pixels, score.predicted_pixels, score.shared_pixels),
                *score.matched,
                *(score.true_nuclei + score.predicted_nuclei - matched for matched in score.matched),
            ]
            for score in scores
        ],
        dtype=float,
    )


def figures_of_sums(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the figures of `set_figures`, each (...) float64, from sums of `summands` over images, (..., 27)."""
    images, dice, iou, bowl, true, predicted, shared = np.moveaxis(sums[..., :7], -1, 0)
    count = len(AP_NAMES)
    precision = _ratio(sums[..., 7 : 7 + count], sums[..., 7 + count :])
    return {
        "dice": dice / images,
        "iou": iou / images,
        "dice_pooled": _ratio(2 * shared, true + predicted),
        "iou_pooled": _ratio(shared, true + predicted - shared),
        **{name: precision[..., i] for i, name in enumerate(AP_NAMES)},
        "mean_ap": precision[..., :9].mean(-1),
        "bowl": bowl / images,
    }


def _ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """Return part / whole; 1.0 where whole is 0: there was nothing to find, and nothing was found."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.ones(np.broadcast(part, whole).shape), where=whole > 0)

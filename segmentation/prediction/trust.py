"""How far to trust a result: a score for each nucleus and a verdict for each picture, from coefficients of the bundle.

The coefficients are fitted on the validation images, see `segmentation.training.trust`. A score, and each expected
figure, is ``1 / (1 + exp(-(bias + sum of weight * feature)))`` with weights that are not negative, so that it rises
with every feature.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from segmentation.data.modality import FLUORESCENCE, STAINED
from segmentation.prediction.appearance import Appearance, look_at
from segmentation.targets.encodings import Encoding
from segmentation.targets.evidence import Evidence, features_of, gather_evidence, image_features

#: A nucleus with a lower score is doubtful: its outline is not expected to match a true one.
DOUBTFUL = 0.5
# A stain is unknown if its mean colour differs by more than this from that of every training image. Of the training
# images, 1 in 100 differs by more than 0.043 from all images of other fields.
_OTHER_STAIN = 0.045
# Fluorescence in colours that the model does not know; that in grey has none, nor has a single channel in a colour.
_OTHER_COLOURS = 0.02
# A picture is blurred, or its nuclei are of another size, if it is this factor outside the range of the training.
_OUTSIDE = 1.1


@dataclass(frozen=True)
class Verdict:
    """What to expect of a picture's result."""

    dice: float | None  # Dice coefficient and average precision at IoU 0.5 with the truth; None without nuclei
    ap50: float | None
    unlike: str  # a sentence if the picture is unlike the training images, else empty
    view: str  # how the network saw it: `segmentation.prediction.views.View.name`

    def as_dict(self) -> dict:
        """Return the verdict in JSON's types, rounded to four digits."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Found:
    """The nuclei of a picture; scores and verdict are None with a model that has no coefficients for them."""

    labels: np.ndarray  # (H, W) int32: 0 = background, 1..n
    scores: np.ndarray | None = None  # (n,) float64, the expected IoU of each with the truth
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Trust:
    """The coefficients of a bundle, ready to judge.

    `encoding` is that of the network. Each of `nucleus`, `dice` and `ap50` holds a ``bias`` and the ``weights`` of
    features; `training_images` what the pictures of the training look like: by kind the least and the greatest
    ``sharpness``, the range of the median ``diameter`` of nuclei in pixels, and the ``stains``, one for each group of
    similar ones.
    """

    encoding: Encoding
    nucleus: dict
    dice: dict
    ap50: dict
    training_images: dict
    min_score: float | None = None  # nuclei with a lower score are dropped

    @property
    def digest(self) -> str:
        """SHA-256 of the coefficients."""
        coefficients = self.nucleus, self.dice, self.ap50, self.training_images
        return hashlib.sha256(json.dumps(coefficients, sort_keys=True).encode()).hexdigest()

    def find(self, labels: np.ndarray, channels: np.ndarray, prepared: np.ndarray, scale: float, view: str) -> "Found":
        """Score the nuclei of a whole picture and judge it; drop those with too low a score after that.

        `labels`, (H, W) int32, were decoded from `channels`, (H, W, C) float32; `prepared` is the normalised picture,
        (H, W, 3) float32, which the network saw at `scale` in the `view` with that name.
        """
        evidence = self.gather(channels, labels)
        scores = self.scores(evidence)
        verdict = self.judge(evidence, look_at(prepared), scale, view)
        numbers, scores = self.select(scores)
        return Found(labels if len(scores) == len(numbers) - 1 else numbers[labels], scores, verdict)

    def gather(self, channels: np.ndarray, labels: np.ndarray) -> Evidence:
        """Return the evidence of the nuclei of a picture or of a part of one."""
        return gather_evidence(channels, labels, self.encoding)

    def select(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number, 1..m, of each label 0..n once nuclei with too low a score are dropped, 0 for these.

        And the scores of those kept, (m,).
        """
        kept = scores >= (self.min_score or 0)
        return np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32), scores[kept]

    def scores(self, evidence: Evidence) -> np.ndarray:
        """Return the expected IoU of each nucleus of a picture with the truth: (n,) float64 between 0 and 1."""
        return _logistic(self.nucleus, features_of(evidence))

    def judge(self, evidence: Evidence, appearance: Appearance, scale: float, view: str) -> Verdict:
        """Judge a picture by the evidence of all its nuclei, and how the network saw it."""
        if not len(evidence["area"]):
            return Verdict(None, None, self._unlike(appearance, None), view)
        features = image_features(evidence, self.scores(evidence))
        diameter = float(np.median(np.sqrt(evidence["area"] * 4 / np.pi))) * scale
        dice, ap50 = (float(_logistic(of, features)) for of in (self.dice, self.ap50))
        return Verdict(dice, ap50, self._unlike(appearance, diameter), view)

    def expected_ap50(self, evidence: Evidence) -> float:
        """Return the average precision at IoU 0.5 to expect of a picture, 0 without nuclei."""
        if not len(evidence["area"]):
            return 0.0
        return float(_logistic(self.ap50, image_features(evidence, self.scores(evidence))))

    def is_new_stain(self, appearance: Appearance) -> bool:
        """Tell whether a picture is stained, and otherwise than the stained images of the training.

        Without any in the training it is not: what was fitted on none cannot judge a view of one.
        """
        is_stained = appearance.kind == STAINED and STAINED in self.training_images["sharpness"]
        return is_stained and self._distance(appearance) > _OTHER_STAIN

    def _distance(self, appearance: Appearance) -> float:
        """Return how far a picture's stain is from the nearest of the training images."""
        return float(np.linalg.norm(np.array(self.training_images["stains"]) - appearance.stain, axis=1).min())

    def _unlike(self, appearance: Appearance, diameter: float | None) -> str:
        """Say what is unlike the training images; `diameter` is that of nuclei as the network saw them."""
        known = self.training_images
        reasons = []
        if appearance.kind not in known["sharpness"]:
            reasons.append(f"no {appearance.kind} image was trained on")
        else:
            least, most = known["sharpness"][appearance.kind]
            if appearance.sharpness < least / _OUTSIDE:
                reasons.append("it is less sharp")
            elif appearance.sharpness > most * _OUTSIDE:
                reasons.append("it has more noise or finer detail")
        colours = np.array(known["stains"])[:, :2] - appearance.stain[:2]
        if appearance.kind == FLUORESCENCE and np.linalg.norm(colours, axis=1).min() > _OTHER_COLOURS:
            reasons.append("it shows several channels in colours, of which --channel takes one")
        elif self._distance(appearance) > _OTHER_STAIN:
            reasons.append("it has another stain or background")
        if diameter is None:
            reasons.append("nothing was found")
        else:
            least, most = known["diameter"]
            if not least / _OUTSIDE <= diameter <= most * _OUTSIDE:
                reasons.append(f"the nuclei are {'smaller' if diameter < least else 'larger'}")
        return f"Unlike the training images: {', '.join(reasons)}." if reasons else ""


def _logistic(coefficients: Mapping, features: Mapping[str, np.ndarray]) -> np.ndarray:
    total = coefficients["bias"] + sum(weight * features[name] for name, weight in coefficients["weights"].items())
    return 1 / (1 + np.exp(-total))

"""The figures of a scored set of images, as one object and as a table to read."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from segmentation.evaluation.intervals import Figure, bootstrap
from segmentation.evaluation.misses import REASONS
from segmentation.evaluation.scores import THRESHOLDS

_ROWS = {
    "dice": "Dice",
    "iou": "IoU",
    **{f"ap{round(100 * t)}": f"AP {t:.2f}" for t in THRESHOLDS[:9]},
    "mean_ap": "mean AP 0.50-0.90",
    "bowl": "Bowl score",
}


@dataclass(frozen=True)
class Evaluation:
    """All that was found out about a set of predictions.

    Attributes
    ----------
    images, groups : int
    true_nuclei, predicted_nuclei : int
    kinds : dict of str to int
        Images of each kind, where it is known.
    problems : tuple of str
        Predictions that counted as empty because they are missing, unreadable or of another size, one sentence each.
    missed : dict of str to int
        True nuclei that no prediction matches at IoU > 0.5, by the reason, see `misses.count_misses`.
    figures : dict of str to Figure
        Those of `scores.set_figures`, and `dice/KIND` for each kind where there are several.
    per_image : dict of str to dict
        By id: dice, iou, bowl, ap (list over `THRESHOLDS`), true_nuclei, predicted_nuclei.
    """

    images: int
    groups: int
    true_nuclei: int
    predicted_nuclei: int
    kinds: dict[str, int]
    problems: tuple[str, ...]
    missed: dict[str, int]
    figures: dict[str, Figure]
    per_image: dict[str, dict]


def summarise(scored, seed=0):
    """Figures with 95 % intervals of a set of images; an image without a group is its own.

    Parameters
    ----------
    scored : sequence of folders.ScoredImage
        At least one.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation
    """
    scores = [s.score for s in scored]
    # Marked apart, so that a group "7" and an image "7" without a group are two.
    groups = [("image", s.image.id) if s.image.group is None else ("group", s.image.group) for s in scored]
    figures = bootstrap(scores, groups, seed)
    kinds = Counter(s.image.kind for s in scored if s.image.kind)
    if len(kinds) > 1:
        for kind in sorted(kinds):
            chosen = np.flatnonzero([s.image.kind == kind for s in scored])
            figures[f"dice/{kind}"] = bootstrap([scores[i] for i in chosen], [groups[i] for i in chosen], seed)["dice"]
    return Evaluation(
        images=len(scored),
        groups=len(set(groups)),
        true_nuclei=sum(score.true_nuclei for score in scores),
        predicted_nuclei=sum(score.predicted_nuclei for score in scores),
        kinds=dict(sorted(kinds.items())),
        problems=tuple(s.problem for s in scored if s.problem),
        missed=dict(zip(REASONS, np.sum([score.missed for score in scores], axis=0).tolist(), strict=True)),
        figures=figures,
        per_image={s.image.id: _image_figures(s.score) for s in scored},
    )


def as_table(evaluation):
    """Format an evaluation as lines of text.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    str
    """
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in evaluation.kinds.items())
    images = _count(evaluation.images, "image") + (f" ({kinds})" if kinds else "")
    lines = [
        f"{images} in {_count(evaluation.groups, 'group')}, "
        f"{evaluation.true_nuclei:,} nuclei in the truth, {evaluation.predicted_nuclei:,} predicted",
        "",
        f"{'':22s}{'':8s}  95 % interval",
    ]
    names = _ROWS | {name: name.replace("dice/", "Dice, ") for name in evaluation.figures if name.startswith("dice/")}
    for name, title in names.items():
        figure = evaluation.figures[name]
        lines.append(f"{title:22s}{figure.value:8.4f}  {figure.low:.4f} - {figure.high:.4f}")
    if evaluation.true_nuclei:
        missed = sum(evaluation.missed.values())
        lines += ["", f"Of the true nuclei, {missed / evaluation.true_nuclei:.1%} are not matched at IoU > 0.5:"]
        lines += [f"  {reason:20s}{count / evaluation.true_nuclei:8.1%}" for reason, count in evaluation.missed.items()]
    return "\n".join(lines)


def _image_figures(score):
    return {
        "dice": score.dice,
        "iou": score.iou,
        "bowl": score.bowl,
        "ap": score.average_precision.tolist(),
        "true_nuclei": score.true_nuclei,
        "predicted_nuclei": score.predicted_nuclei,
    }


def _count(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

"""The scores of a set of images: a table with a row an image, figures with intervals, and both as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from segmentation import __version__
from segmentation.evaluation.folders import ScoredImage
from segmentation.evaluation.intervals import Interval, bootstrap
from segmentation.evaluation.misses import REASONS
from segmentation.evaluation.scores import AP_NAMES

if TYPE_CHECKING:
    import pandas as pd

_ROWS = {
    "dice": "Dice",
    "iou": "IoU",
    **{name: f"AP 0.{name[2:]}" for name in AP_NAMES[:9]},
    "mean_ap": "mean AP 0.50-0.90",
    "bowl": "Bowl score",
}


@dataclass(frozen=True)
class Evaluation:
    """The scores of a set of predictions.

    `images` has a row an image, by id: `kind` and `group` where they are known, `dice`, `iou` and `bowl`, the average
    precision `ap50` .. `ap95`, `true_nuclei` and `predicted_nuclei`, `matched` nuclei at IoU > 0.5, the missed ones by
    each of `misses.REASONS`, and the `problem` for which a prediction counted as empty. `groups` is the number of
    groups that intervals draw; an image without a group counts as its own. `figures` are those of `set_figures`.
    `kinds` has a row a kind of image, if there are several: number of `images` and `groups`, `dice` with the ends `low`
    and `high` of its interval, `ap50` and `mean_ap` over the nuclei of the kind.
    """

    images: pd.DataFrame
    groups: int
    figures: dict[str, Interval]
    kinds: pd.DataFrame


def evaluate(scored: Sequence[ScoredImage], seed: int = 0) -> Evaluation:
    """Tabulate the scores of at least one image, and compute figures with 95 % intervals (bootstrap with `seed`)."""
    import pandas as pd

    scores = [s.score for s in scored]
    # Told apart, so that a group "7" and an image "7" without a group are two.
    groups = [("image", s.image.id) if s.image.group is None else ("group", s.image.group) for s in scored]
    images = _score_table(scored)
    rows_of_kind = images.groupby("kind").indices
    kinds = {}
    for kind, rows in rows_of_kind.items() if len(rows_of_kind) > 1 else ():
        own = [groups[row] for row in rows]
        figures = bootstrap([scores[row] for row in rows], own, seed)
        dice, ap50, mean_ap = (figures[name] for name in ("dice", "ap50", "mean_ap"))
        kinds[kind] = len(rows), len(set(own)), dice.value, dice.low, dice.high, ap50.value, mean_ap.value
    columns = ["images", "groups", "dice", "low", "high", "ap50", "mean_ap"]
    by_kind = pd.DataFrame.from_dict(kinds, orient="index", columns=columns)
    return Evaluation(images, len(set(groups)), bootstrap(scores, groups, seed), by_kind)


def _score_table(scored: Sequence[ScoredImage]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {
            **{"id": s.image.id, "kind": s.image.kind or None, "group": s.image.group},
            **{"dice": s.score.dice, "iou": s.score.iou, "bowl": s.score.bowl},
            **dict(zip(AP_NAMES, s.score.average_precision.tolist(), strict=True)),
            **{"true_nuclei": s.score.true_nuclei, "predicted_nuclei": s.score.predicted_nuclei},
            "matched": s.score.matched[0],
            **dict(zip(REASONS, s.score.missed, strict=True)),
            "problem": s.problem,
        }
        for s in scored
    ]
    return pd.DataFrame(rows).set_index("id")


def as_json(evaluation: Evaluation) -> dict:
    """Return all figures, and the scores of each image, as what `json` can write."""
    images = evaluation.images
    by_kind = {f"dice/{row.Index}": Interval(row.dice, row.low, row.high) for row in evaluation.kinds.itertuples()}
    columns = ["dice", "iou", "bowl", "true_nuclei", "predicted_nuclei"]
    per_image = images[columns].to_dict("index")
    for sample_id, precision in zip(images.index, images[list(AP_NAMES)].to_numpy().tolist(), strict=True):
        per_image[sample_id]["ap"] = precision
    return {
        "version": __version__,
        "images": len(images),
        "groups": evaluation.groups,
        "true_nuclei": int(images["true_nuclei"].sum()),
        "predicted_nuclei": int(images["predicted_nuclei"].sum()),
        "kinds": images["kind"].value_counts().sort_index().to_dict(),
        "problems": images["problem"].dropna().tolist(),
        "missed": images[list(REASONS)].sum().to_dict(),
        "figures": {name: asdict(figure) for name, figure in (evaluation.figures | by_kind).items()},
        "per_image": per_image,
    }


def as_text(evaluation: Evaluation) -> str:
    """Format an evaluation as lines of text; intervals are left out where all images are of one group."""
    images = evaluation.images
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in images["kind"].value_counts().sort_index().items())
    true, predicted = images["true_nuclei"].sum(), images["predicted_nuclei"].sum()
    lines = [
        f"{_count(len(images), 'image')}{f' ({kinds})' if kinds else ''} in {_count(evaluation.groups, 'group')}, "
        f"{true:,} nuclei in the truth, {predicted:,} predicted",
        "",
    ]
    if evaluation.groups > 1:
        lines.append(f"{'':30s}  95 % interval")
    for name, title in _ROWS.items():
        lines.append(_figure_line(title, evaluation.figures[name], evaluation.groups > 1))
    for row in evaluation.kinds.itertuples():
        lines.append(_figure_line(f"Dice, {row.Index}", Interval(row.dice, row.low, row.high), row.groups > 1))
    if true:
        missed = images[list(REASONS)].sum() / true
        lines += ["", f"Of the true nuclei, {missed.sum():.1%} are not matched at IoU > 0.5:"]
        lines += [f"  {reason:20s}{share:8.1%}" for reason, share in missed.items()]
    return "\n".join(lines)


def _figure_line(title: str, figure: Interval, with_interval: bool) -> str:
    interval = f"  {figure.low:.4f} - {figure.high:.4f}" if with_interval else ""
    return f"{title:22s}{figure.value:8.4f}{interval}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

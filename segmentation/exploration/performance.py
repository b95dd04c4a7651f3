"""How a model does on test images, and where it fails."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segmentation.bundle import Bundle
from segmentation.evaluation.folders import ScoredImage, TrueImage
from segmentation.evaluation.overlap import overlap
from segmentation.evaluation.report import Evaluation, evaluate
from segmentation.evaluation.scores import score_image
from segmentation.exploration.images import evenly
from segmentation.exploration.measures import fullest_window
from segmentation.exploration.style import (
    COLOURS,
    GREY,
    frame,
    legend,
    log_scale,
    picture,
    plain,
    scatter_by_kind,
)
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity, short
from segmentation.prediction.predictor import open_predictor

# Shares of fewer nuclei say little.
_FEWEST = 20
# Side of what is shown of an image, in pixels.
_SIDE = 320
_FOUND, _MISSED, _INVENTED = (86, 180, 233), (240, 228, 66), (213, 94, 0)  # sky blue, yellow, vermillion


@dataclass(frozen=True)
class Performance:
    """Predictions of a model for test images, scored.

    The images are `rows` of the survey; predicted `label_maps`, (H, W) int32, and the table of the `evaluation` are in
    this order. `nuclei` are the true nuclei of these images, as in the survey, and whether each was `found`.
    """

    bundle: Bundle
    rows: list[int]
    label_maps: list[np.ndarray]
    evaluation: Evaluation
    nuclei: pd.DataFrame


def examine_model(survey: Survey, bundle: Bundle, most: int = 120) -> Performance:
    """Predict test images as ``predict_masks.py`` does by default, and score them.

    Of more than `most` images, that many are taken, evenly spaced; all images if there are no test images.
    """
    rows, predictor = evenly(survey.rows("test"), most), open_predictor(bundle)
    label_maps, scored, found = [], [], []
    for row in rows:
        image, truth = survey.images.loc[row], survey.cached.label_map(row)
        label_maps.append(predictor(survey.samples[row].read_image()))
        true_image = TrueImage(image["id"], partial(survey.cached.label_map, row), image["kind"], image["group"])
        scored.append(ScoredImage(true_image, score_image(truth, label_maps[-1])))
        found.append(found_nuclei(truth, label_maps[-1]))
    nuclei = survey.nuclei[survey.nuclei["image"].isin(rows)].assign(found=np.concatenate(found))
    return Performance(bundle, rows, label_maps, evaluate(scored), nuclei)


def found_nuclei(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Tell which true nuclei have a predicted one with an IoU above 0.5, (n,) bool in the order of their labels."""
    pairs = overlap(truth, prediction)
    found = np.zeros(len(pairs.true_areas), bool)
    found[pairs.true_index[pairs.iou() > 0.5]] = True
    return found


def found_by_trait(nuclei: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the number of true `nuclei` and the share `found` by what may make them hard; a row a trait."""
    diameter, contrast = nuclei["diameter"], nuclei["contrast"].abs()
    traits = {"all nuclei": diameter > 0}
    traits |= {f"in {kind} images": nuclei["kind"] == kind for kind in nuclei["kind"].cat.categories}
    traits |= {
        "touching no other": ~nuclei["touching"],
        "touching another": nuclei["touching"],
        "below 10 px": diameter < 10,
        "10 to 20 px": (diameter >= 10) & (diameter < 20),
        "20 to 40 px": (diameter >= 20) & (diameter < 40),
        "above 40 px": diameter >= 40,
        "faintest fifth": contrast <= contrast.quantile(0.2),
        "most contrasting fifth": contrast >= contrast.quantile(0.8),
        "cut by the edge": nuclei["touches_edge"],
    }
    chosen = {name: nuclei.loc[mask, "found"] for name, mask in traits.items() if mask.any()}
    return pd.DataFrame(
        {"nuclei": {n: len(f) for n, f in chosen.items()}, "found": {n: f.mean() for n, f in chosen.items()}}
    )


def draw(survey: Survey, performance: Performance) -> Figure:
    """Draw the Dice coefficient of each image, the counts, and the share of nuclei found by trait."""
    figure, ((left, middle, right),) = frame(13, 4.2, 1, 3, width_ratios=(3, 3, 4))
    images = performance.evaluation.images
    images = images.assign(kind=pd.Categorical(images["kind"], survey.kinds).remove_unused_categories())
    kinds = images["kind"].cat.categories
    # Side by side in their order, so that no point hides another.
    rank = images.groupby("kind", observed=True)["dice"].rank(method="first", pct=True) - 0.5
    scatter_by_kind(left, images["kind"].cat.codes + 0.6 * rank, images["dice"], images["kind"])
    for place, mean in enumerate(images.groupby("kind", observed=True)["dice"].mean()):
        left.hlines(mean, place - 0.35, place + 0.35, color="black", linewidth=1.5)
        left.text(place + 0.37, mean, f"{mean:.2f}", va="center", fontsize=9)
    plain(left, "Dice coefficient of each test image", "", "Dice coefficient (line: mean)")
    left.set_xticks(range(len(kinds)), kinds)
    left.set_xlim(-0.5, len(kinds) - 0.25)
    left.set_ylim(min(0.5, images["dice"].min() - 0.03), 1.01)

    # Where there is none, the point lies at 0.5: a logarithmic axis has no 0.
    counts = images[["true_nuclei", "predicted_nuclei"]].clip(lower=0.5)
    scatter_by_kind(middle, counts["true_nuclei"], counts["predicted_nuclei"], images["kind"])
    top = max(counts.to_numpy().max(), 2)
    middle.plot([1, top], [1, top], color="black", linewidth=1, linestyle=":")
    plain(middle, "Nuclei counted", "True number (log scale)", "Predicted number (log scale)")
    log_scale(middle, "xy")
    legend(middle)

    traits = found_by_trait(performance.nuclei)
    colours = [COLOURS.get(name.removeprefix("in ").removesuffix(" images"), GREY) for name in traits.index]
    bars = right.barh(range(len(traits)), 100 * traits["found"], color=colours)
    right.bar_label(bars, [f" {percent(share)}" for share in traits["found"]], fontsize=8)
    plain(right, "Nuclei found (IoU above 0.5)", "Share of the true nuclei (%)")
    names = [f"{trait.Index} ({trait.nuclei:,})" for trait in traits.itertuples()]
    right.set_yticks(range(len(traits)), names, fontsize=9)
    right.set_xlim(0, 114)
    right.set_xticks(range(0, 101, 20))
    right.invert_yaxis()
    right.grid(visible=False, axis="y")
    return figure


def describe(survey: Survey, performance: Performance) -> str:
    """Say how well the model does, and on which nuclei it fails most."""
    bundle, evaluation = performance.bundle, performance.evaluation
    traits = found_by_trait(performance.nuclei)
    shares = traits.loc[traits["nuclei"] >= _FEWEST, "found"]
    where = ""
    if len(shares) > 1:
        where = (
            f"; it finds {percent(performance.nuclei['found'].mean())} of the nuclei, fewest of the group "
            f"“{shares.idxmin()}” ({percent(shares.min())}) and most of the group “{shares.idxmax()}” "
            f"({percent(shares.max())})"
        )
    dice, ap50, mean_ap = (
        f"{figure.value:.3f}" + (f" ({figure.low:.3f}-{figure.high:.3f})" if evaluation.groups > 1 else "")
        for figure in (evaluation.figures[name] for name in ("dice", "ap50", "mean_ap"))
    )
    return (
        f"On {quantity(len(performance.rows), 'test image')} the model {bundle.folder.name} ({bundle.targets}, "
        f"{bundle.digest[:8]}) has a mean Dice coefficient of {dice}, AP50 {ap50} and mean AP {mean_ap}{where}."
    )


def ranked(performance: Performance) -> list[int]:
    """Order the places of the images in `performance`: the worst Bowl score first, then the worst Dice."""
    scores = performance.evaluation.images.reset_index()
    return scores.sort_values(["bowl", "dice"]).index.tolist()


def draw_failures(survey: Survey, performance: Performance, columns: int = 6) -> Figure:
    """Show the worst, the middle and the best test images: above as they are, below which nuclei were found."""
    order = ranked(performance)
    count = min(columns, len(order))
    worst = max(count - 2, 1)
    chosen = [(place, "worst") for place in order[:worst]]
    chosen += [(order[len(order) // 2], "median"), (order[-1], "best")][: count - worst]
    figure, axes = frame(2.0 * columns, 4.5, 2, columns)
    for panel in axes.flat:
        panel.set_axis_off()
    for (upper, lower), (place, rank) in zip(axes.T, chosen, strict=False):
        score, row = performance.evaluation.images.iloc[place], performance.rows[place]
        prediction = performance.label_maps[place]
        pixels, truth = survey.cached.pixels(row), survey.cached.label_map(row)
        # Where most pixels are wrong.
        shown = fullest_window((truth > 0) != (prediction > 0), _SIDE)
        picture(upper, pixels[shown], f"{rank}: {short(score.name)}")
        counts = f"{score.true_nuclei} true, {score.predicted_nuclei} predicted, {score.matched} match"
        title = f"Bowl score {score.bowl:.2f}, Dice {score.dice:.2f}\n{counts}"
        picture(lower, mark_failures(pixels, truth, prediction)[shown], title)
    names = {_FOUND: "found", _MISSED: "missed", _INVENTED: "predicted, matches none"}
    patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*colour), label=name) for colour, name in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False)
    return figure


def mark_failures(pixels: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Tint the nuclei of an (H, W, 3) uint8 picture: true ones found and missed, predicted ones that match none."""
    found = np.concatenate([[False], found_nuclei(truth, prediction)])
    matched = np.concatenate([[False], found_nuclei(prediction, truth)])
    tint = np.zeros((*truth.shape, 3), np.float32)
    tint[(prediction > 0) & ~matched[prediction]] = _INVENTED
    # A missed nucleus is more important to see than the prediction over it.
    tint[(truth > 0) & ~found[truth]] = _MISSED
    tint[found[truth]] = _FOUND
    marked = np.where(tint.any(axis=-1, keepdims=True), 0.45 * pixels + 0.55 * tint, pixels)
    return marked.round().astype(np.uint8)


def describe_failures(survey: Survey, performance: Performance) -> str:
    """Say what goes wrong in the worst image, and what in all."""
    scores = performance.evaluation.images
    worst = scores.iloc[ranked(performance)[0]]
    true, predicted, matched = scores[["true_nuclei", "predicted_nuclei", "matched"]].sum()
    matches = quantity(worst.matched, "match", "matches")
    return (
        f"Of all images together {true - matched:,} of {quantity(true, 'nucleus', 'nuclei')} are missed and "
        f"{predicted - matched:,} of {predicted:,} predicted ones match none; the worst image, {worst.name} "
        f"({worst.kind}), has {matches} for {quantity(worst.true_nuclei, 'nucleus', 'nuclei')} and a Dice coefficient "
        f"of {worst.dice:.2f}."
    )

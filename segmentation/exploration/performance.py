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
from segmentation.exploration.style import COLOURS, GREY, frame, legend, picture, plain, scatter_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity, short
from segmentation.prediction.opening import open_predictor

# Shares of fewer nuclei say little.
_FEWEST = 20
# Side of what is shown of an image, in pixels.
_SIDE = 320
_FOUND, _MISSED, _INVENTED = (86, 180, 233), (240, 228, 66), (213, 94, 0)  # sky blue, yellow, vermillion


@dataclass(frozen=True)
class Performance:
    """Predictions of a model for the `rows` of a survey, in their order, scored.

    `nuclei` are the true nuclei of these images, as in the survey, and whether each was `found`.
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
        "10 to 20 px": diameter.between(10, 20, inclusive="left"),
        "20 to 40 px": diameter.between(20, 40, inclusive="left"),
        "above 40 px": diameter >= 40,
        "faintest fifth": contrast <= contrast.quantile(0.2),
        "most contrasting fifth": contrast >= contrast.quantile(0.8),
        "cut by the edge": nuclei["touches_edge"],
    }
    found = {name: nuclei.loc[mask, "found"].agg(["size", "mean"]) for name, mask in traits.items() if mask.any()}
    table = pd.DataFrame.from_dict(found, orient="index", columns=["size", "mean"])
    return table.set_axis(["nuclei", "found"], axis=1).astype({"nuclei": int})


def draw(survey: Survey, performance: Performance) -> Figure:
    """Draw the Dice coefficient of each image, and the share of nuclei found by trait."""
    figure, ((left, right),) = frame(10, 4.2, 1, 2, width_ratios=(3, 4))
    images = performance.evaluation.images
    kinds = pd.Categorical(images["kind"], survey.kinds).remove_unused_categories()
    images = images.assign(kind=kinds).sort_values(["kind", "dice"])
    scatter_by_kind(left, pd.Series(range(len(images)), images.index), images["dice"], images["kind"])
    plain(left, "Dice coefficient of each test image", "Images by kind, the worst first", "Dice coefficient")
    legend(left, "lower right")

    traits = found_by_trait(performance.nuclei)
    colours = [COLOURS.get(name.removeprefix("in ").removesuffix(" images"), GREY) for name in traits.index]
    names = [f"{trait.Index} ({trait.nuclei:,})" for trait in traits.itertuples()]
    bars = right.barh(names, 100 * traits["found"], color=colours)
    right.bar_label(bars, [f" {percent(share)}" for share in traits["found"]], fontsize=8)
    plain(right, "Nuclei found (IoU above 0.5)", "Share of the true nuclei (%)")
    right.set(xlim=(0, 114), xticks=range(0, 101, 20))
    right.invert_yaxis()
    right.grid(visible=False, axis="y")
    return figure


def describe(survey: Survey, performance: Performance) -> str:
    """Say how well the model does, and on which nuclei it fails most."""
    bundle, evaluation = performance.bundle, performance.evaluation
    traits = found_by_trait(performance.nuclei)
    shares = traits.loc[traits["nuclei"] >= _FEWEST, "found"]
    where = (
        ""
        if len(shares) < 2
        else (
            f"; it finds {percent(performance.nuclei['found'].mean())} of the nuclei, fewest of the group "
            f"“{shares.idxmin()}” ({percent(shares.min())}) and most of the group “{shares.idxmax()}” "
            f"({percent(shares.max())})"
        )
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
    """Show the worst test images: above as they are, below which nuclei were found."""
    figure, axes = frame(2.0 * columns, 4.5, 2, columns)
    for panel in axes.flat:
        panel.set_axis_off()
    for (upper, lower), place in zip(axes.T, ranked(performance), strict=False):
        score, row = performance.evaluation.images.iloc[place], performance.rows[place]
        prediction = performance.label_maps[place]
        pixels, truth = survey.cached.pixels(row), survey.cached.label_map(row)
        # Where most pixels are wrong.
        shown = fullest_window((truth > 0) != (prediction > 0), _SIDE)
        picture(upper, pixels[shown], short(score.name))
        counts = f"{score.true_nuclei} true, {score.predicted_nuclei} predicted, {score.matched} match"
        title = f"Bowl score {score.bowl:.2f}, Dice {score.dice:.2f}\n{counts}"
        picture(lower, mark_failures(pixels, truth, prediction)[shown], title)
    names = {"found": _FOUND, "missed": _MISSED, "predicted, matches none": _INVENTED}
    patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*colour), label=name) for name, colour in names.items()]
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

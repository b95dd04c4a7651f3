"""How a model does on test images, and where it fails."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segmentation.bundle import Bundle
from segmentation.evaluation.intervals import Figure as Interval
from segmentation.evaluation.intervals import bootstrap
from segmentation.evaluation.overlap import overlap
from segmentation.evaluation.scores import ImageScore, score_image
from segmentation.exploration.measures import fullest_window
from segmentation.exploration.style import COLOURS, GREY, MARKERS, frame, legend, picture, plain, plain_numbers
from segmentation.exploration.survey import Survey
from segmentation.exploration.targets import evenly
from segmentation.exploration.wording import percent, quantity, short
from segmentation.prediction.predictor import open_predictor

# A nucleus counts as found if a predicted one has an IoU above this with it.
FOUND_IOU = 0.5
# Traits of fewer nuclei say little.
_FEWEST = 20
# Side of what is shown of an image, in pixels.
_SIDE = 320
_FOUND, _MISSED, _INVENTED = (86, 180, 233), (240, 228, 66), (213, 94, 0)  # sky blue, yellow, vermillion


@dataclass(frozen=True)
class Performance:
    """Predictions of a model for test images, scored.

    Attributes
    ----------
    bundle : Bundle
    indices : list of int
        The images.
    label_maps : list of (H, W) ndarray of int32
        As predicted.
    scores : list of ImageScore
    figures : dict of str to Interval
        Of all images, with 95 % intervals over groups of images that show one field.
    rows : (n,) ndarray of int
        Rows of the true nuclei of these images in the survey.
    found : (n,) ndarray of bool
        Whether a predicted nucleus has an IoU above 0.5 with each of them.
    """

    bundle: Bundle
    indices: list[int]
    label_maps: list[np.ndarray]
    scores: list[ImageScore]
    figures: dict[str, Interval]
    rows: np.ndarray
    found: np.ndarray


def examine_model(survey: Survey, bundle: Bundle, most: int = 120) -> Performance:
    """Predict test images as ``predict_masks.py`` does by default, and score them.

    Parameters
    ----------
    survey : Survey
    bundle : Bundle
    most : int
        Images, at most, evenly spaced over the test images; over all images if there are no test images.
    """
    collection = survey.collection
    indices = evenly(collection.indices("test"), most)
    predictor = open_predictor(bundle)
    label_maps = [predictor(collection.samples[index].read_image()) for index in indices]
    truths = [collection.images.label_map(index) for index in indices]
    scores = [score_image(*pair) for pair in zip(truths, label_maps, strict=True)]
    found = [found_nuclei(*pair) for pair in zip(truths, label_maps, strict=True)]
    return Performance(
        bundle=bundle,
        indices=indices,
        label_maps=label_maps,
        scores=scores,
        figures=bootstrap(scores, [collection.images.groups[index] for index in indices]),
        rows=np.flatnonzero(np.isin(survey.nuclei["image"], indices)),
        found=np.concatenate(found),
    )


def found_nuclei(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Tell which true nuclei have a predicted one with an IoU above 0.5, (n,) bool in the order of their labels."""
    pairs = overlap(truth, prediction)
    found = np.zeros(len(pairs.true_areas), bool)
    found[pairs.true_index[pairs.iou() > FOUND_IOU]] = True
    return found


def traits(survey: Survey, performance: Performance) -> dict[str, np.ndarray]:
    """Sort the true nuclei by what may make them hard; name of the trait to (n,) bool, in the order of `found`."""
    nuclei = {name: column[performance.rows] for name, column in survey.nuclei.items()}
    contrast, kinds = np.abs(nuclei["contrast"]), survey.images["kind"][nuclei["image"]]
    diameter = nuclei["diameter"]
    low, high = np.nanpercentile(contrast, (20, 80)) if len(contrast) else (0, 0)
    result = {"all nuclei": np.ones(len(kinds), bool)}
    result |= {f"in {kind} images": kinds == kind for kind in survey.kinds}
    result |= {
        "touching no other": ~nuclei["touching"],
        "touching another": nuclei["touching"],
        "below 10 px": diameter < 10,
        "10 to 20 px": (diameter >= 10) & (diameter < 20),
        "20 to 40 px": (diameter >= 20) & (diameter < 40),
        "above 40 px": diameter >= 40,
        "faintest fifth": contrast <= low,
        "most contrasting fifth": contrast >= high,
        "cut by the edge": nuclei["touches_edge"],
    }
    return {name: chosen for name, chosen in result.items() if chosen.any()}


def draw_performance(survey: Survey, performance: Performance) -> Figure:
    """Draw the Dice coefficient of each image, the counts, and the share of nuclei found by trait."""
    figure, ((left, middle, right),) = frame(13, 4.2, 1, 3, width_ratios=(3, 3, 4))
    kinds = survey.images["kind"][performance.indices]
    dice = np.array([score.dice for score in performance.scores])
    present = [kind for kind in survey.kinds if (kinds == kind).any()]
    for place, kind in enumerate(present):
        own = np.sort(dice[kinds == kind])
        # Side by side as their order has it, so that no point hides another.
        across = place + np.linspace(-0.3, 0.3, own.size) if own.size > 1 else [place]
        left.scatter(across, own, 24, COLOURS[kind], marker=MARKERS[kind], alpha=0.7, linewidths=0)
        left.hlines(own.mean(), place - 0.35, place + 0.35, color="black", linewidth=1.5)
        left.text(place + 0.37, own.mean(), f"{own.mean():.2f}", va="center", fontsize=9)
    plain(left, "Dice coefficient of each test image", "", "Dice coefficient (line: mean)")
    left.set_xticks(range(len(present)), present)
    left.set_xlim(-0.5, len(present) - 0.25)
    left.set_ylim(min(0.5, dice.min() - 0.03), 1.01)

    top = 2
    for kind in present:
        chosen = [score for score, own in zip(performance.scores, kinds, strict=True) if own == kind]
        true, predicted = (np.array([getattr(s, f"{n}_nuclei") for s in chosen]) for n in ("true", "predicted"))
        top = max(top, true.max(), predicted.max())
        middle.scatter(
            np.maximum(true, 0.5),
            np.maximum(predicted, 0.5),
            24,
            COLOURS[kind],
            marker=MARKERS[kind],
            alpha=0.7,
            linewidths=0,
            label=kind,
        )
    middle.plot([1, top], [1, top], color="black", linewidth=1, linestyle=":")
    plain(middle, "Nuclei counted", "True number (log scale)", "Predicted number (log scale)")
    middle.set_xscale("log")
    middle.set_yscale("log")
    plain_numbers(middle.xaxis)
    plain_numbers(middle.yaxis)
    legend(middle)

    groups = traits(survey, performance)
    shares = [performance.found[chosen].mean() for chosen in groups.values()]
    colours = [COLOURS.get(name.removeprefix("in ").removesuffix(" images"), GREY) for name in groups]
    bars = right.barh(range(len(groups)), 100 * np.array(shares), color=colours)
    right.bar_label(bars, [f" {percent(share)}" for share in shares], fontsize=8)
    plain(right, "Nuclei found (IoU above 0.5)", "Share of the true nuclei (%)")
    right.set_yticks(range(len(groups)), [f"{name} ({chosen.sum():,})" for name, chosen in groups.items()], fontsize=9)
    right.set_xlim(0, 114)
    right.set_xticks(range(0, 101, 20))
    right.invert_yaxis()
    right.grid(visible=False, axis="y")
    return figure


def describe_performance(survey: Survey, performance: Performance) -> str:
    """Say how well the model does, and on which nuclei it fails most."""
    figures = performance.figures
    groups = traits(survey, performance)
    shares = {name: performance.found[chosen].mean() for name, chosen in groups.items() if chosen.sum() >= _FEWEST}
    where = ""
    if len(shares) > 1:
        worst, best = min(shares, key=shares.get), max(shares, key=shares.get)
        where = (
            f"; it finds {percent(performance.found.mean())} of the nuclei, fewest of the group “{worst}” "
            f"({percent(shares[worst])}) and most of the group “{best}” ({percent(shares[best])})"
        )
    return (
        f"On {quantity(len(performance.indices), 'test image')} the model {performance.bundle.folder.name} "
        f"({performance.bundle.targets}, {performance.bundle.digest[:8]}) has a mean Dice coefficient of "
        f"{_with_interval(figures['dice'])}, AP50 {_with_interval(figures['ap50'])} and mean AP "
        f"{_with_interval(figures['mean_ap'])}{where}."
    )


def _with_interval(figure: Interval) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def ranked(performance: Performance) -> list[int]:
    """Places of the images in `performance`, the worst mean over the IoU thresholds first, then the worst Dice."""
    return sorted(
        range(len(performance.scores)),
        key=lambda place: (performance.scores[place].bowl, performance.scores[place].dice),
    )


def draw_failures(survey: Survey, performance: Performance, columns: int = 6) -> Figure:
    """Show the best, the middle and the worst test images: above as they are, below which nuclei were found."""
    order = ranked(performance)
    count = min(columns, len(order))
    worst = max(count - 2, 1)
    chosen = [(place, "worst") for place in order[:worst]]
    chosen += [(order[len(order) // 2], "median"), (order[-1], "best")][: count - worst]
    figure, axes = frame(2.0 * columns, 4.5, 2, columns)
    for panel in axes.flat:
        panel.set_axis_off()
    for (upper, lower), (place, rank) in zip(axes.T, chosen, strict=False):
        index, score = performance.indices[place], performance.scores[place]
        pixels, truth = survey.collection.images.pixels(index), survey.collection.images.label_map(index)
        marked = mark_failures(pixels, truth, performance.label_maps[place])
        # Where most pixels are wrong.
        shown = fullest_window((truth > 0) != (performance.label_maps[place] > 0), _SIDE)
        picture(upper, pixels[shown], f"{rank}: {short(survey.collection.images.ids[index])}")
        counts = f"{score.true_nuclei} true,\n{score.predicted_nuclei} predicted, {score.matched[0]} match"
        picture(lower, marked[shown], f"Dice {score.dice:.2f}; {counts}")
    patches = [
        Patch(color=np.array(colour) / 255, label=name)
        for colour, name in ((_FOUND, "found"), (_MISSED, "missed"), (_INVENTED, "predicted, matches none"))
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False)
    return figure


def mark_failures(pixels: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Tint the nuclei of an (H, W, 3) uint8 picture: true ones found and missed, predicted ones that match none."""
    found = np.concatenate([[False], found_nuclei(truth, prediction)])
    matched = np.concatenate([[False], found_nuclei(prediction, truth)])
    tint = np.zeros((*truth.shape, 3), np.float32)
    tint[(prediction > 0) & ~matched[prediction]] = _INVENTED
    # Where both are, what was missed is what one wants to see.
    tint[(truth > 0) & ~found[truth]] = _MISSED
    tint[found[truth]] = _FOUND
    marked = np.where(tint.any(axis=-1, keepdims=True), 0.45 * pixels + 0.55 * tint, pixels)
    return marked.round().astype(np.uint8)


def describe_failures(survey: Survey, performance: Performance) -> str:
    """Say what goes wrong in the worst image, and what in all."""
    place = ranked(performance)[0]
    score, index = performance.scores[place], performance.indices[place]
    true, predicted, matched = (
        sum(values)
        for values in zip(*((s.true_nuclei, s.predicted_nuclei, s.matched[0]) for s in performance.scores), strict=True)
    )
    matches = quantity(score.matched[0], "match", "matches")
    return (
        f"Of all images together {true - matched:,} of {quantity(true, 'nucleus', 'nuclei')} are missed and "
        f"{predicted - matched:,} of {predicted:,} predicted ones match none; the worst image, "
        f"{survey.collection.images.ids[index]} ({survey.images['kind'][index]}), has {matches} for "
        f"{quantity(score.true_nuclei, 'nucleus', 'nuclei')} and a Dice coefficient of {score.dice:.2f}."
    )

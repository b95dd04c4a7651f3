"""How many nuclei touch, and so what a mask that only tells foreground from background would miscount."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.style import COLOURS, MARKERS, frame, legend, plain, plain_numbers, stack_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent


def draw_touching(survey: Survey) -> Figure:
    """Draw the share of touching nuclei, and the nuclei that connected components would count."""
    figure, ((left, right),) = frame(10, 3.8, 1, 2)
    images, kinds = survey.images, survey.images["kind"]
    share = touching_shares(survey)
    stack_by_kind(left, 100 * share, kinds, survey.kinds, np.arange(0, 105, 5))
    plain(left, "Nuclei that touch another", "Share of the image's nuclei (%)", "Images")
    legend(left)

    for kind in survey.kinds:
        own = (kinds == kind) & (images["nuclei"] > 0)
        right.scatter(
            images["nuclei"][own],
            images["objects"][own],
            22,
            COLOURS[kind],
            marker=MARKERS[kind],
            alpha=0.6,
            linewidths=0,
        )
    top = max(int(images["nuclei"].max(initial=1)), 2)
    right.plot([1, top], [1, top], color="black", linewidth=1, linestyle=":")
    plain(
        right,
        "What a plain mask would count",
        "Nuclei in the image (log scale)",
        "Separate objects in the mask (log scale)",
    )
    for axis, scale in ((right.xaxis, right.set_xscale), (right.yaxis, right.set_yscale)):
        scale("log")
        plain_numbers(axis)
    return figure


def touching_shares(survey: Survey) -> np.ndarray:
    """Share of touching nuclei of each image, (N,) float64; NaN where there are none."""
    count = len(survey.images["nuclei"])
    touching = np.bincount(survey.nuclei["image"], survey.nuclei["touching"], count)
    nuclei = survey.images["nuclei"]
    return np.divide(touching, nuclei, out=np.full(count, np.nan), where=nuclei > 0)


def describe_touching(survey: Survey) -> str:
    """Say how many nuclei touch, and how far off a count of connected components would be."""
    touching, nuclei, objects = survey.nuclei["touching"], survey.images["nuclei"].sum(), survey.images["objects"].sum()
    if not touching.any():
        return "No nucleus touches another, so the connected components of the mask are the nuclei."
    shares = touching_shares(survey)
    worst = int(np.nanargmax(np.where(survey.images["nuclei"] >= 5, shares, -1)))
    return (
        f"{percent(touching.mean())} of the nuclei touch another ({percent(shares[worst])} in "
        f"{survey.collection.images.ids[worst]}), so counting the connected components of a perfect mask would find "
        f"{objects:,} for {nuclei:,} nuclei ({percent(1 - objects / nuclei)} too few): the network must learn to tell "
        "neighbours apart, not only foreground from background."
    )

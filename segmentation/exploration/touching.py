"""How many nuclei touch, and so what a mask that only tells foreground from background would miscount."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.style import frame, histogram_by_kind, legend, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent


def draw(survey: Survey) -> Figure:
    """Draw the share of touching nuclei in each image."""
    figure, ((axes,),) = frame(6.5, 3.8)
    images = survey.images
    histogram_by_kind(axes, 100 * images["touching"], images["kind"], np.arange(0, 105, 5))
    plain(axes, "Nuclei that touch another", "Share of the image's nuclei (%)", "Images")
    legend(axes)
    return figure


def describe(survey: Survey) -> str:
    """Say how many nuclei touch, and how far off a count of connected components would be."""
    images, nuclei = survey.images, survey.nuclei
    if not nuclei["touching"].any():
        return "No nucleus touches another, so the connected components of the mask are the nuclei."
    # A share of a few nuclei says little.
    worst = images.loc[images["touching"].where(images["nuclei"] >= 5, -1).idxmax()]
    objects = images["objects"].sum()
    return (
        f"{percent(nuclei['touching'].mean())} of the nuclei touch another ({percent(worst['touching'])} in "
        f"{worst['id']}), so counting the connected components of a perfect mask would find {objects:,} for "
        f"{len(nuclei):,} nuclei ({percent(1 - objects / len(nuclei))} too few): the network must learn to tell "
        "neighbours apart, not only foreground from background."
    )

"""How much of an image is foreground, and so what a network scores that finds nothing."""

import numpy as np
from matplotlib.figure import Figure
from scipy.special import xlogy

from segmentation.exploration.style import frame, histogram_by_kind, legend, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent


def draw(survey: Survey) -> Figure:
    """Draw the foreground share of the images."""
    figure, ((axes,),) = frame(6.5, 3.6)
    shares = survey.images["foreground"]
    histogram_by_kind(axes, 100 * shares, survey.images["kind"], np.arange(0, 102.5, 2.5))
    mean = f"mean {percent(shares.mean())}"
    axes.axvline(100 * shares.mean(), color="black", linestyle="--", linewidth=1, label=mean)
    axes.set_xlim(0, min(100, 100 * shares.max() + 5))
    plain(axes, "Foreground share of the images", "Share of the pixels that belong to nuclei (%)", "Images")
    legend(axes)
    return figure


def describe(survey: Survey) -> str:
    """Say how much of an image is foreground, and what a network that finds nothing scores."""
    shares, pixels = survey.images["foreground"], survey.images["height"] * survey.images["width"]
    mean = shares.mean()
    cross_entropy = -(xlogy(mean, mean) + xlogy(1 - mean, 1 - mean))
    return (
        f"On average {percent(mean)} of an image is foreground (median {percent(shares.median())}, of all pixels "
        f"together {percent(np.average(shares, weights=pixels))}), so a network that finds nothing has "
        f"{percent(1 - mean)} of the pixels right and, if it says {mean:.2f} everywhere, a cross-entropy of "
        f"{cross_entropy:.2f} where it began at {np.log(2):.2f}, while its Dice coefficient is "
        f"{(shares == 0).mean():.2f}: cross-entropy alone would reward it, which is why the Dice loss is added."
    )

"""How much of an image is foreground, and so what a network scores that finds nothing."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from segmentation.exploration.style import GREY, VERMILLION, frame, histogram_by_kind, legend, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent


def trivial_scores(shares: pd.Series) -> pd.Series:
    """Score a network that gives the same answer for every pixel of images with these shares of foreground.

    Means over the images: `accuracy` and `dice` of "background everywhere" (Dice is 0 where an image has nuclei, 1
    where it has none); binary `cross_entropy` in nats and soft `dice_loss` of the mean share as the probability
    everywhere, the best that a network gets without looking; `undecided`, the cross-entropy of one half everywhere,
    where training begins: ln 2.
    """
    mean = shares.mean()
    certain = np.clip(mean, 1e-7, 1 - 1e-7)
    return pd.Series(
        {
            "accuracy": 1 - mean,
            "dice": (shares == 0).mean(),
            "cross_entropy": -(mean * np.log(certain) + (1 - mean) * np.log(1 - certain)),
            "dice_loss": 1 - (2 * shares * mean / (shares + mean)).fillna(1).mean(),
            "undecided": np.log(2),
        }
    )


def draw(survey: Survey) -> Figure:
    """Draw the foreground share of the images, and what a network scores that finds nothing."""
    figure, ((left, right),) = frame(10, 3.6, 1, 2, width_ratios=(3, 2))
    shares = survey.images["foreground"]
    histogram_by_kind(left, 100 * shares, survey.images["kind"], np.arange(0, 102.5, 2.5))
    mean = f"mean {percent(shares.mean())}"
    left.axvline(100 * shares.mean(), color="black", linestyle="--", linewidth=1, label=mean)
    left.set_xlim(0, min(100, 100 * shares.max() + 5))
    plain(left, "Foreground share of the images", "Share of the pixels that belong to nuclei (%)", "Images")
    legend(left)

    trivial = trivial_scores(shares)
    values = [trivial["accuracy"], 1 - trivial["cross_entropy"] / trivial["undecided"], trivial["dice"]]
    bars = right.bar(range(3), values, color=[GREY, GREY, VERMILLION])
    right.bar_label(bars, fmt="%.2f")
    plain(right, "Scores of a network that finds nothing", "", "Score (1 is best)")
    right.set_xticks(range(3), ["accuracy", "cross-entropy\n(1 - loss / ln 2)", "Dice\ncoefficient"], fontsize=9)
    right.set_ylim(0, 1.1)
    return figure


def describe(survey: Survey) -> str:
    """Say how much of an image is foreground and why cross-entropy alone is a poor loss."""
    shares, pixels = survey.images["foreground"], survey.images["height"] * survey.images["width"]
    trivial = trivial_scores(shares)
    return (
        f"On average {percent(shares.mean())} of an image is foreground (median {percent(shares.median())}, of all "
        f"pixels together {percent(np.average(shares, weights=pixels))}), so a network that finds nothing has "
        f"{percent(trivial['accuracy'])} of the pixels right and, if it says {shares.mean():.2f} everywhere, a "
        f"cross-entropy of {trivial['cross_entropy']:.2f} where it began at {trivial['undecided']:.2f}, while its Dice "
        f"coefficient is {trivial['dice']:.2f} (Dice loss {trivial['dice_loss']:.2f}): cross-entropy alone would "
        "reward it, which is why the Dice loss is added."
    )

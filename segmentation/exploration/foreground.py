"""How much of an image is foreground, and so what a network gets that finds nothing."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.style import GREY, VERMILLION, frame, legend, plain, stack_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent


@dataclass(frozen=True)
class Trivial:
    """What one answer for every pixel gets, mean over images; in [0, 1] but for the cross-entropy.

    Attributes
    ----------
    accuracy : float
        Share of right pixels of "background everywhere".
    dice : float
        Dice coefficient of "background everywhere": 0 where an image has nuclei, 1 where it has none.
    cross_entropy : float
        Binary cross-entropy, in nats, of the mean foreground share as the probability everywhere: as low as a network
        gets without looking at the image.
    undecided : float
        The same of a probability of one half everywhere, where training begins: ln 2.
    soft_dice_loss : float
        Dice loss of the mean foreground share as the probability everywhere.
    """

    accuracy: float
    dice: float
    cross_entropy: float
    undecided: float
    soft_dice_loss: float


def trivial_scores(shares: np.ndarray) -> Trivial:
    """Score the network that says the same of every pixel.

    Parameters
    ----------
    shares : (N,) ndarray of float
        Share of foreground of each image.
    """
    mean = float(np.mean(shares))
    certain = np.clip(mean, 1e-7, 1 - 1e-7)
    return Trivial(
        accuracy=1 - mean,
        dice=float(np.mean(shares == 0)),
        cross_entropy=float(-(mean * np.log(certain) + (1 - mean) * np.log(1 - certain))),
        undecided=float(np.log(2)),
        soft_dice_loss=float(
            np.mean(1 - np.divide(2 * shares * mean, shares + mean, out=np.ones_like(shares), where=shares + mean > 0))
        ),
    )


def draw_foreground(survey: Survey) -> Figure:
    """Draw the foreground share of the images, and what a network gets that finds nothing."""
    figure, ((left, right),) = frame(10, 3.6, 1, 2, width_ratios=(3, 2))
    shares = survey.images["foreground"]
    stack_by_kind(left, 100 * shares, survey.images["kind"], survey.kinds, np.arange(0, 102.5, 2.5))
    left.axvline(
        100 * shares.mean(), color="black", linestyle="--", linewidth=1, label=f"mean {percent(shares.mean())}"
    )
    left.set_xlim(0, min(100, 100 * shares.max() + 5))
    plain(left, "Foreground share of the images", "Share of the pixels that belong to nuclei (%)", "Images")
    legend(left)

    trivial = trivial_scores(shares)
    bars = {
        "accuracy": (trivial.accuracy, GREY),
        "cross-entropy\n(1 - loss / ln 2)": (1 - trivial.cross_entropy / trivial.undecided, GREY),
        "Dice\ncoefficient": (trivial.dice, VERMILLION),
    }
    values = [value for value, _ in bars.values()]
    right.bar(range(3), values, color=[colour for _, colour in bars.values()])
    for place, value in enumerate(values):
        right.text(place, value, f"{value:.2f}", ha="center", va="bottom")
    plain(right, "What finding nothing earns", "", "Score (1 is best)")
    right.set_xticks(range(3), list(bars), fontsize=9)
    right.set_ylim(0, 1.1)
    return figure


def describe_foreground(survey: Survey) -> str:
    """Say how much of an image is foreground and why cross-entropy alone is a poor loss."""
    shares = survey.images["foreground"]
    trivial = trivial_scores(shares)
    pixels = (survey.images["height"] * survey.images["width"]).astype(float)
    return (
        f"On average {percent(shares.mean())} of an image is foreground (median {percent(np.median(shares))}, of all "
        f"pixels together {percent(np.average(shares, weights=pixels))}), so a network that finds nothing has "
        f"{percent(trivial.accuracy)} of the pixels right and, if it says {shares.mean():.2f} everywhere, a "
        f"cross-entropy of {trivial.cross_entropy:.2f} where it began at {trivial.undecided:.2f}, while its Dice "
        f"coefficient is {trivial.dice:.2f} (Dice loss {trivial.soft_dice_loss:.2f}): cross-entropy alone would reward "
        "it, which is why the Dice loss is added."
    )

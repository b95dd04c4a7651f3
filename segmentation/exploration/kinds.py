"""Which kinds of image there are, how clearly they differ, how rare they are, and how sampling makes up for it."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from segmentation.exploration.style import COLOURS, GREY, frame, legend, log_scale, plain, scatter_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent
from segmentation.training.sampling import draw_probabilities


def draw(survey: Survey) -> Figure:
    """Draw the clusters of images, and how often training sees each kind."""
    figure, ((first, second, third),) = frame(12, 3.9, 1, 3)
    images, lightness = survey.images, "Median lightness, normalised\n(CIELAB L*, 0 black, 100 white)"
    scatter_by_kind(first, images["lightness"], images["chroma"], images["kind"])
    plain(first, "Background and colour", lightness, "Mean chroma, normalised\n(CIELAB, 0 is grey)")
    legend(first)
    scatter_by_kind(second, images["lightness"], images["diameter"], images["kind"])
    plain(second, "Background and nuclear size", lightness, "Median nuclear diameter (pixels, log scale)")
    log_scale(second, "y")

    shares = kind_shares(survey)
    colours = [COLOURS[kind] for kind in shares.index]
    for offset, name, alpha in ((-0.2, "images", 0.45), (0.2, "crops", 1)):
        bars = third.bar(np.arange(len(shares)) + offset, 100 * shares[name], 0.4, color=colours, alpha=alpha)
        third.bar_label(bars, [percent(share) for share in shares[name]], fontsize=8)
        label = {"images": "of the training images", "crops": "of the crops drawn"}[name]
        third.bar([np.nan], [np.nan], color=GREY, alpha=alpha, label=label)
    plain(third, "How often training sees a kind", "", "Share (%)")
    third.set_xticks(range(len(shares)), shares.index)
    third.margins(y=0.12)
    legend(third)
    return figure


def kind_shares(survey: Survey) -> pd.DataFrame:
    """Return the share of each kind among the training `images`, and among the `crops` that training draws."""
    train = survey.images.loc[survey.rows("train")]
    drawn = draw_probabilities(train["kind"].tolist(), (train["height"] * train["width"]).tolist())
    by_kind = train.assign(drawn=drawn).groupby("kind", observed=False)["drawn"]
    return pd.DataFrame({"images": by_kind.size() / len(train), "crops": by_kind.sum()})


def neighbour_agreement(survey: Survey) -> float:
    """Return the share of images whose nearest neighbour in lightness, chroma and log diameter is of their kind.

    The three are standardised. Images without a whole nucleus take no part; NaN if fewer than two are left.
    """
    images = survey.images.dropna(subset="diameter")
    if len(images) < 2:
        return np.nan
    features = images[["lightness", "chroma"]].assign(size=np.log2(images["diameter"]))
    features = (features - features.mean()) / features.std().clip(lower=1e-9)
    # The nearest of all is the image itself, or one that lies at the same place.
    nearest = cKDTree(features).query(features, 2)[1]
    other = np.where(nearest[:, 0] == np.arange(len(images)), nearest[:, 1], nearest[:, 0])
    kinds = images["kind"].to_numpy()
    return float((kinds == kinds[other]).mean())


def describe(survey: Survey) -> str:
    """Say how clearly the kinds differ, how rare the rarest is and how often it is drawn."""
    shares = kind_shares(survey)
    if len(shares) == 1:
        return f"All images are of one kind, {survey.kinds[0]}, so sampling by kind changes nothing."
    missing = shares.index[shares["images"] == 0].tolist()
    present = shares[shares["images"] > 0]
    rarest = present["images"].idxmin()
    share, drawn = present.loc[rarest]
    absent = f" (no training image is {listing(missing)})" if missing else ""
    return (
        f"Background, colour and size tell the kinds apart (for {percent(neighbour_agreement(survey))} of the images "
        f"the one most alike is of the same kind); the rarest, {rarest}, has {percent(share)} of the training "
        f"images{absent}, one in {1 / share:.1f}: drawing kinds by the square root of their number makes that one in "
        f"{1 / drawn:.1f} crops ({percent(drawn)})."
    )

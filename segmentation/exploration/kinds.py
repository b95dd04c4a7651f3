"""Which kinds of image there are, how rare they are, and how sampling makes up for it."""

import pandas as pd
from matplotlib.figure import Figure

from segmentation.exploration.style import BLUE, GREY, frame, legend, plain, scatter_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent
from segmentation.training.sampling import draw_probabilities


def draw(survey: Survey) -> Figure:
    """Draw the clusters of images, and how often training sees each kind."""
    figure, ((first, second),) = frame(9, 3.9, 1, 2)
    images, lightness = survey.images, "Median lightness, normalised\n(CIELAB L*, 0 black, 100 white)"
    scatter_by_kind(first, images["lightness"], images["chroma"], images["kind"])
    plain(first, "Background and colour", lightness, "Mean chroma, normalised\n(CIELAB, 0 is grey)")
    legend(first)

    shares = kind_shares(survey)
    drawn = (100 * shares).set_axis(["of the training images", "of the crops drawn"], axis=1)
    drawn.plot.bar(rot=0, color=[GREY, BLUE], ax=second)
    for bars in second.containers:
        second.bar_label(bars, fmt="%.1f", fontsize=8)
    plain(second, "How often training sees a kind", "", "Share (%)")
    legend(second)
    return figure


def kind_shares(survey: Survey) -> pd.DataFrame:
    """Return the share of each kind among the training `images`, and among the `crops` that training draws."""
    train = survey.images.loc[survey.rows("train")]
    drawn = draw_probabilities(train["kind"].tolist(), (train["height"] * train["width"]).tolist())
    by_kind = train.assign(drawn=drawn).groupby("kind", observed=False)["drawn"]
    return pd.DataFrame({"images": by_kind.size() / len(train), "crops": by_kind.sum()})


def describe(survey: Survey) -> str:
    """Say how rare the rarest kind is and how often it is drawn."""
    shares = kind_shares(survey)
    if len(shares) == 1:
        return f"All images are of one kind, {survey.kinds[0]}, so sampling by kind changes nothing."
    missing, present = shares.index[shares["images"] == 0].tolist(), shares[shares["images"] > 0]
    rarest = present["images"].idxmin()
    share, drawn = present.loc[rarest]
    absent = f" (no training image is {listing(missing)})" if missing else ""
    return (
        f"The rarest kind, {rarest}, has {percent(share)} of the training images{absent}, one in {1 / share:.1f}: "
        f"drawing kinds by the square root of their number makes that one in {1 / drawn:.1f} crops ({percent(drawn)})."
    )

"""Which kinds of image there are, how clearly they differ, how rare they are, and how sampling makes up for it."""

import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from segmentation.exploration.style import COLOURS, GREY, frame, legend, plain, plain_numbers, scatter_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent
from segmentation.training.sampling import draw_probabilities


def draw_kinds(survey: Survey) -> Figure:
    """Draw the clusters of images, and how often training sees each kind."""
    figure, ((first, second, third),) = frame(12, 3.9, 1, 3)
    images, kinds = survey.images, survey.images["kind"]
    scatter_by_kind(first, images["level"], images["chroma"], kinds, survey.kinds)
    plain(
        first,
        "Background and colour",
        "Median brightness, normalised\n(0 dark, 1 light)",
        "Chroma, normalised (0 is grey)",
    )
    legend(first)
    scatter_by_kind(second, images["level"], images["diameter"], kinds, survey.kinds)
    plain(
        second,
        "Background and nuclear size",
        "Median brightness, normalised\n(0 dark, 1 light)",
        "Median nuclear diameter (pixels, log scale)",
    )
    second.set_yscale("log")
    plain_numbers(second.yaxis)

    shares = kind_shares(survey)
    places = np.arange(len(shares))
    for offset, values, name, style in (
        (-0.2, [share for share, _ in shares.values()], "of the training images", {"alpha": 0.45}),
        (0.2, [drawn for _, drawn in shares.values()], "of the crops drawn", {}),
    ):
        bars = third.bar(
            places + offset, 100 * np.array(values), 0.4, color=[COLOURS[kind] for kind in shares], **style
        )
        third.bar_label(bars, [percent(value) for value in values], fontsize=8)
        third.bar([np.nan], [np.nan], color=GREY, label=name, **style)
    plain(third, "How often training sees a kind", "", "Share (%)")
    third.set_xticks(places, list(shares))
    third.margins(y=0.12)
    legend(third)
    return figure


def kind_shares(survey: Survey) -> dict[str, tuple[float, float]]:
    """Share of the training images, and of the crops that training draws, that each kind has."""
    train = survey.collection.indices("train")
    kinds = [survey.collection.images.kinds[index] for index in train]
    drawn = draw_probabilities(kinds, [survey.collection.images.areas[index] for index in train])
    of_kind = {kind: np.array([own == kind for own in kinds]) for kind in survey.kinds}
    return {kind: (float(own.mean()), float(drawn[own].sum())) for kind, own in of_kind.items()}


def neighbour_agreement(survey: Survey) -> float:
    """Share of the images whose nearest neighbour in level, chroma and log diameter, standardised, is of their kind.

    Images without a whole nucleus take no part; NaN if fewer than two are left.
    """
    images = survey.images
    usable = np.isfinite(images["diameter"])
    if usable.sum() < 2:
        return np.nan
    features = np.stack([images["level"], images["chroma"], np.log2(np.where(usable, images["diameter"], 1))], axis=1)[
        usable
    ]
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    # The nearest of all is the image itself, or one that lies at the same place.
    nearest = cKDTree(features).query(features, 2)[1]
    other = np.where(nearest[:, 0] == np.arange(len(features)), nearest[:, 1], nearest[:, 0])
    kinds = images["kind"][usable]
    return float((kinds == kinds[other]).mean())


def describe_kinds(survey: Survey) -> str:
    """Say how clearly the kinds differ, how rare the rarest is and how often it is drawn."""
    shares = kind_shares(survey)
    if len(shares) == 1:
        return f"All images are of one kind, {survey.kinds[0]}, so sampling by kind changes nothing."
    rarest = min((kind for kind in shares if shares[kind][0] > 0), key=lambda kind: shares[kind][0])
    share, drawn = shares[rarest]
    missing = [kind for kind in shares if shares[kind][0] == 0]
    absent = f" (no training image is {listing(missing)})" if missing else ""
    return (
        f"Background, colour and size tell the kinds apart (for {percent(neighbour_agreement(survey))} of the images "
        f"the one most alike is of the same kind); the rarest, {rarest}, has {percent(share)} of the training "
        f"images{absent}, one in {1 / share:.1f}: drawing kinds by the square root of their number makes that one in "
        f"{1 / drawn:.1f} crops ({percent(drawn)})."
    )

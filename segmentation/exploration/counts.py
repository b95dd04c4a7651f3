"""How many nuclei an image has and how large they are."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.style import COLOURS, frame, histogram_by_kind, legend, log_scale, octaves, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity


def draw(survey: Survey) -> Figure:
    """Draw the nuclei per image and the nuclear diameters, both on logarithmic axes."""
    figure, ((left, right),) = frame(10, 3.6, 1, 2)
    counts, whole = survey.images["nuclei"], survey.nuclei[~survey.nuclei["touches_edge"]]
    histogram_by_kind(left, counts, survey.images["kind"], octaves(counts, 2))
    plain(left, "Nuclei per image", "Nuclei in the image (log scale)", "Images")
    legend(left)

    bins = octaves(whole["diameter"], 4)
    for kind, own in whole.groupby("kind", observed=True)["diameter"]:
        shares = np.full(len(own), 100 / len(own))
        label = f"{kind} ({len(own):,})"
        right.hist(own, bins, weights=shares, histtype="step", linewidth=2, color=COLOURS[kind], label=label)
    axis = "Diameter of the disk of equal area (pixels, log scale)"
    plain(right, "Nuclear diameter (nuclei not cut by the edge)", axis, "Share of the kind's nuclei (%)")
    if len(whole):
        legend(right)
    log_scale(left)
    log_scale(right)
    return figure


def describe(survey: Survey) -> str:
    """Say how many nuclei there are, how many in an image, and how large."""
    counts, nuclei = survey.images["nuclei"], survey.nuclei
    if nuclei.empty:
        return "No nuclei are annotated."
    low, middle, high = nuclei.loc[~nuclei["touches_edge"], "diameter"].quantile([0.05, 0.5, 0.95])
    sentence = (
        f"{quantity(len(nuclei), 'nucleus', 'nuclei')}, {counts.min():,} to {counts.max():,} in an image "
        f"(median {counts.median():,.0f})"
    )
    if np.isnan(middle):
        return sentence + ", all of them cut by the edge."
    return sentence + (
        f", with diameters of {low:.0f} to {high:.0f} pixels (5th to 95th percentile, median {middle:.0f}): "
        f"the network must know nuclei whose areas differ {(high / low) ** 2:.0f}-fold; "
        f"the edge cuts {percent(nuclei['touches_edge'].mean())} of them."
    )

"""How many nuclei an image has and how large they are."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.style import frame, histogram_by_kind, legend, log_bins, log_scale, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity


def draw(survey: Survey) -> Figure:
    """Draw the nuclei per image and the nuclear diameters, both on logarithmic axes."""
    figure, ((left, right),) = frame(10, 3.6, 1, 2)
    counts, whole = survey.images["nuclei"], survey.nuclei[~survey.nuclei["touches_edge"]]
    histogram_by_kind(left, counts, survey.images["kind"], log_bins(counts))
    plain(left, "Nuclei per image", "Nuclei in the image (log scale)", "Images")
    legend(left)

    histogram_by_kind(right, whole["diameter"], whole["kind"], log_bins(whole["diameter"]))
    axis = "Diameter of the disk of equal area (pixels, log scale)"
    plain(right, "Nuclear diameter (nuclei not cut by the edge)", axis, "Nuclei")
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

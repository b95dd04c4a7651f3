"""How many nuclei an image has and how large they are."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.style import COLOURS, frame, legend, octaves, plain, plain_numbers, stack_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity


def draw_counts(survey: Survey) -> Figure:
    """Draw the nuclei per image and the nuclear diameters, both on logarithmic axes."""
    figure, ((left, right),) = frame(10, 3.6, 1, 2)
    counts, kinds = survey.images["nuclei"], survey.images["kind"]
    stack_by_kind(left, counts.astype(float), kinds, survey.kinds, octaves(counts.astype(float), 2))
    plain(left, "Nuclei per image", "Nuclei in the image (log scale)", "Images")
    legend(left)

    diameters, whole = survey.nuclei["diameter"], ~survey.nuclei["touches_edge"]
    of_nucleus = kinds[survey.nuclei["image"]]
    bins = octaves(diameters[whole], 4)
    for kind in survey.kinds:
        own = diameters[whole & (of_nucleus == kind)]
        if own.size:
            right.hist(
                own,
                bins,
                weights=np.full(own.size, 100 / own.size),
                histtype="step",
                linewidth=2,
                color=COLOURS[kind],
                label=f"{kind} ({own.size:,})",
            )
    plain(
        right,
        "Nuclear diameter (nuclei not cut by the edge)",
        "Diameter of the disk of equal area (pixels, log scale)",
        "Share of the kind's nuclei (%)",
    )
    if right.patches:
        legend(right)
    for axes in (left, right):
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
    return figure


def describe_counts(survey: Survey) -> str:
    """Say how many nuclei there are, how many in an image, and how large."""
    counts, nuclei = survey.images["nuclei"], survey.nuclei
    if not counts.any():
        return "No nuclei are annotated."
    whole = nuclei["diameter"][~nuclei["touches_edge"]]
    sentence = (
        f"{quantity(len(nuclei['label']), 'nucleus', 'nuclei')}, {counts.min():,} to {counts.max():,} in an image "
        f"(median {np.median(counts):,.0f})"
    )
    if not whole.size:
        return sentence + "."
    low, middle, high = np.percentile(whole, (5, 50, 95))
    sentence += (
        f", with diameters of {low:.0f} to {high:.0f} pixels (5th to 95th percentile, median {middle:.0f}): "
        f"the network must know nuclei whose areas differ {(high / low) ** 2:.0f}-fold; "
        f"the edge cuts {percent(nuclei['touches_edge'].mean())} of them."
    )
    return sentence

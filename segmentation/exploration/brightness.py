"""How bright and how coloured the images are, as they lie in their files."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.data.modality import FLUORESCENCE
from segmentation.exploration.style import COLOURS, frame, legend, plain, scatter_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent

# An image with less chroma looks grey.
GREY_BELOW = 0.03
# Nuclei at less than this share of full scale can hardly be seen on a screen.
DARK = 0.1


def draw_brightness(survey: Survey) -> Figure:
    """Draw how bright nuclei and background are, and the mean colours of both in every image."""
    figure, ((left, right),) = frame(10, 4.2, 1, 2, width_ratios=(2, 3))
    images, kinds = survey.images, survey.images["kind"]
    scatter_by_kind(left, 100 * images["background"], 100 * images["brightness"], kinds, survey.kinds)
    left.plot([0, 100], [0, 100], color="black", linewidth=1, linestyle=":")
    left.text(30, 97, "above the line nuclei are\nbrighter than the background", va="top", fontsize=8)
    plain(
        left,
        "Brightness (a point is an image)",
        "Background, median (% of full scale)",
        "Nuclei, median (% of full scale)",
    )
    left.set_xlim(-2, 102)
    left.set_ylim(-2, 102)
    legend(left, "lower right")

    strips, ticks, start = [], [], 0
    for kind in survey.kinds:
        own = np.flatnonzero((kinds == kind) & (images["nuclei"] > 0))
        if own.size:
            own = own[np.argsort(images["brightness"][own])]
            # Every kind is as wide as the others, however rare.
            own = own[np.linspace(0, own.size - 1, 60).round().astype(int)]
            strips.append(np.stack([images["nuclei_colour"][own], images["background_colour"][own]]))
            strips.append(np.ones((2, 3, 3)))
            ticks.append((start + 30, kind))
            start += 63
    if strips:
        right.imshow(np.concatenate(strips[:-1], axis=1), aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    plain(right, "Mean colour in the file, images from dim to bright")
    right.set_yticks([0, 1], ["nuclei", "background"])
    right.set_xticks([at for at, _ in ticks], [kind for _, kind in ticks])
    for label, (_, kind) in zip(right.get_xticklabels(), ticks, strict=True):
        label.set_color(COLOURS[kind])
    right.grid(visible=False)
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    return figure


def describe_brightness(survey: Survey) -> str:
    """Say how far apart the dimmest and the brightest images are, and how many have colour."""
    images = survey.images
    coloured = percent((images["chroma"] > GREY_BELOW).mean())
    bright = images["brightness"][(images["kind"] == FLUORESCENCE) & np.isfinite(images["brightness"])]
    if not bright.size:
        low, high = np.nanpercentile(images["background"], (5, 95))
        return (
            f"The background lies at {percent(low)} to {percent(high)} of full scale (5th to 95th percentile of the "
            f"images), and {coloured} of the images are coloured."
        )
    low, high = np.percentile(bright, (5, 95))
    return (
        f"Fluorescent nuclei lie at {percent(low)} of full scale in dim images and at {percent(high)} in bright ones "
        f"(5th and 95th percentile), {high / max(low, 1e-9):.1f} times as bright; {percent((bright < DARK).mean())} of "
        f"these images look black on a screen, and {coloured} of all images are coloured: no threshold suits all, and "
        "each image is stretched between its own percentiles before the network sees it."
    )

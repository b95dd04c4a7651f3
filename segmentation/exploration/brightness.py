"""How bright and how coloured the images are, as they lie in their files."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.data.modality import FLUORESCENCE
from segmentation.exploration.style import COLOURS, frame, legend, plain, scatter_by_kind
from segmentation.exploration.survey import COLOURS as CHANNELS
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent

# Mean CIELAB chroma; an image with less looks grey.
GREY_BELOW = 5
# Nuclei at less than this share of full scale can hardly be seen on a screen.
DARK = 0.1


def draw(survey: Survey) -> Figure:
    """Draw how bright nuclei and background are, and the mean colours of both in every image."""
    figure, ((left, right),) = frame(10, 4.2, 1, 2, width_ratios=(2, 3))
    images = survey.images
    scatter_by_kind(left, 100 * images["background"], 100 * images["brightness"], images["kind"])
    left.plot([0, 100], [0, 100], color="black", linewidth=1, linestyle=":")
    left.text(30, 97, "above the line nuclei are\nbrighter than the background", va="top", fontsize=8)
    labels = "Background, median (% of full scale)", "Nuclei, median (% of full scale)"
    plain(left, "Brightness (a point is an image)", *labels)
    left.set(xlim=(-2, 102), ylim=(-2, 102))
    legend(left, "lower right")

    strips, names = [], []
    for kind, own in images.dropna(subset="brightness").groupby("kind", observed=True):
        # Every kind is drawn 60 images wide, however rare.
        own = own.sort_values("brightness").iloc[np.linspace(0, len(own) - 1, 60).round().astype(int)]
        both = [own[[f"{name}_{channel}" for channel in CHANNELS]] for name in ("nuclei", "background")]
        strips += [np.stack(both), np.ones((2, 3, 3))]
        names.append(kind)
    if strips:
        right.imshow(np.concatenate(strips[:-1], axis=1), aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    plain(right, "Mean colour in the file, images from dim to bright")
    right.set_yticks([0, 1], ["nuclei", "background"])
    right.set_xticks([30 + 63 * place for place in range(len(names))], names)
    for label in right.get_xticklabels():
        label.set_color(COLOURS[label.get_text()])
    right.grid(visible=False)
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    return figure


def describe(survey: Survey) -> str:
    """Say how far apart the dimmest and the brightest images are, and how many have colour."""
    images = survey.images
    coloured = percent((images["chroma"] > GREY_BELOW).mean())
    bright = images.loc[images["kind"] == FLUORESCENCE, "brightness"].dropna()
    if bright.empty:
        low, high = images["background"].quantile([0.05, 0.95])
        return (
            f"The background lies at {percent(low)} to {percent(high)} of full scale (5th to 95th percentile of the "
            f"images), and {coloured} of the images are coloured."
        )
    low, high = bright.quantile([0.05, 0.95])
    return (
        f"Fluorescent nuclei lie at {percent(low)} of full scale in dim images and at {percent(high)} in bright ones "
        f"(5th and 95th percentile), {high / max(low, 1e-9):.1f} times as bright; {percent((bright < DARK).mean())} of "
        f"these images look black on a screen, and {coloured} of all images are coloured: no threshold suits all, and "
        "each image is stretched between its own percentiles before the network sees it."
    )

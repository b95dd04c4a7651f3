"""How bright and how coloured the images are, as stored in their files."""

from matplotlib.figure import Figure

from segmentation.data.modality import FLUORESCENCE
from segmentation.exploration.style import frame, legend, plain, scatter_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent

# Mean CIELAB chroma; an image with less looks grey.
GREY_BELOW = 5
# Nuclei at less than this share of full scale can hardly be seen on a screen.
DARK = 0.1


def draw(survey: Survey) -> Figure:
    """Draw how bright nuclei and background are in every image."""
    figure, ((axes,),) = frame(6.5, 4.2)
    images = survey.images
    scatter_by_kind(axes, 100 * images["background"], 100 * images["brightness"], images["kind"])
    axes.plot([0, 100], [0, 100], color="black", linewidth=1, linestyle=":")
    axes.text(30, 97, "above the line nuclei are\nbrighter than the background", va="top", fontsize=8)
    labels = "Background, median (% of full scale)", "Nuclei, median (% of full scale)"
    plain(axes, "Brightness (a point is an image)", *labels)
    axes.set(xlim=(-2, 102), ylim=(-2, 102))
    legend(axes, "lower right")
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

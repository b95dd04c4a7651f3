"""How large the images are."""

import pandas as pd
from matplotlib.figure import Figure

from segmentation.exploration.style import bars_by_kind, frame, legend, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity
from segmentation.training.config import TrainingConfig


def image_sizes(survey: Survey) -> pd.DataFrame:
    """Count the images of each kind (columns) by width and height (index), the smallest area first."""
    images = survey.images
    table = pd.crosstab([images["width"] * images["height"], images["width"], images["height"]], images["kind"])
    return table.droplevel(0)


def draw(survey: Survey) -> Figure:
    """Draw how many images have which size, the smallest first, for the twelve most frequent sizes."""
    sizes = image_sizes(survey)
    table = sizes[sizes.sum(axis=1).rank(method="first", ascending=False) <= 12]
    names = [f"{width} × {height}" for width, height in table.index]
    figure, ((axes,),) = frame(7.5, 1.2 + 0.32 * len(table))
    plain(axes, f"Image sizes ({len(table)} of {len(sizes)})", "Images", "Width × height (pixels)")
    bars_by_kind(axes, table, names, horizontal=True)
    legend(axes)
    return figure


def describe(survey: Survey) -> str:
    """Say how far the sizes differ and what follows for training."""
    sizes = image_sizes(survey).sum(axis=1)
    smallest, largest, (width, height) = sizes.index[0], sizes.index[-1], sizes.idxmax()
    if len(sizes) == 1:
        return f"{quantity(sizes.sum(), 'image')} of {width} × {height} pixels."
    crop = TrainingConfig().crop_size
    shorter = survey.images[["width", "height"]].min(axis=1)
    return (
        f"{len(sizes)} sizes from {smallest[0]} × {smallest[1]} to {largest[0]} × {largest[1]} pixels, "
        f"{largest[0] * largest[1] / (smallest[0] * smallest[1]):.1f} times the area; "
        f"{percent(sizes.max() / sizes.sum())} of the images have {width} × {height}: shrinking all to one size would "
        f"blur the large ones, so the network learns from crops at native scale ({crop} pixels a side by default, "
        f"which {percent((shorter >= crop).mean())} of the images can hold)."
    )

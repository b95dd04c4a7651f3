"""What images are there: a few of each kind."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from segmentation.data.modality import FLUORESCENCE, SMEAR, STAINED
from segmentation.data.splits import SUBSETS
from segmentation.exploration.style import frame, picture, row_label
from segmentation.exploration.survey import NO_SUBSET, Survey
from segmentation.exploration.wording import listing, percent, quantity, short

# Side of what is shown of each image, in pixels: at one scale for all, so that sizes can be compared.
WINDOW = 256
_MEANING = {
    FLUORESCENCE: "bright nuclei on dark",
    STAINED: "dark nuclei in coloured tissue or cells",
    SMEAR: "grey brightfield",
}


def draw(survey: Survey, columns: int = 6) -> Figure:
    """Show the middle of some images of each kind, a row a kind, from small nuclei to large ones."""
    figure, axes = frame(1.75 * columns, 2.0 * len(survey.kinds), len(survey.kinds), columns)
    for panel in axes.flat:
        panel.set_axis_off()
    for panels, kind in zip(axes, survey.kinds, strict=True):
        chosen = spread(survey, kind, columns)
        for panel, image in zip(panels, survey.images.loc[chosen].itertuples(), strict=False):
            size = f"{image.width} × {image.height} px, {quantity(image.nuclei, 'nucleus', 'nuclei')}"
            picture(panel, window(survey, image.Index), f"{short(image.id)}\n{size}")
        row_label(panels[0], kind)
    return figure


def spread(survey: Survey, kind: str, count: int) -> list[int]:
    """Choose images of a kind, evenly from those with the smallest nuclei to those with the largest."""
    own = survey.images[survey.images["kind"] == kind]
    return evenly(own.sort_values("diameter", kind="stable", na_position="first").index, count)


def evenly(rows: Sequence[int], most: int) -> list[int]:
    """Choose at most so many rows, evenly spaced, in their order."""
    return [int(rows[round(place)]) for place in np.linspace(0, len(rows) - 1, min(most, len(rows)))]


def typical(survey: Survey, kind: str) -> int:
    """Choose the image of a kind whose nuclei are of middle size."""
    chosen = spread(survey, kind, 3)
    return chosen[len(chosen) // 2]


def window(survey: Survey, row: int) -> np.ndarray:
    """Cut the middle out of a normalised image, at most 256 pixels a side, (h, w, 3) uint8."""
    pixels = survey.cached.pixels(row)
    top, left = (max(length - WINDOW, 0) // 2 for length in pixels.shape[:2])
    return pixels[top : top + WINDOW, left : left + WINDOW]


def describe(survey: Survey) -> str:
    """Say how many images of which kind there are, and how they are split."""
    total, counts = len(survey.images), survey.images["kind"].value_counts()
    parts = [f"{count:,} {kind} ({percent(count / total)}: {_MEANING[kind]})" for kind, count in counts.items()]
    of_subset = survey.images["subset"].value_counts()
    order = [name for name in (*SUBSETS, NO_SUBSET) if name in of_subset]
    return (
        f"{quantity(total, 'image')} with {quantity(len(survey.nuclei), 'nucleus', 'nuclei')}: {listing(parts)}; "
        f"split into {listing([f'{of_subset[name]:,} {name}' for name in order])} (from {survey.split_origin})."
    )

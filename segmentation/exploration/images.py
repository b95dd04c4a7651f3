"""What images are there: a few of each kind."""

from matplotlib.figure import Figure

from segmentation.data.modality import FLUORESCENCE, SMEAR, STAINED
from segmentation.exploration.style import frame, picture, row_label
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent, quantity, short

# Side of what is shown of each image, in pixels: at one scale for all, so that sizes can be compared.
WINDOW = 256
_MEANING = {
    FLUORESCENCE: "bright nuclei on dark",
    STAINED: "dark nuclei in coloured tissue or cells",
    SMEAR: "grey brightfield",
}


def draw_gallery(survey: Survey, columns: int = 6) -> Figure:
    """Show the middle of some images of each kind, a row a kind, from small nuclei to large ones."""
    figure, axes = frame(1.75 * columns, 2.0 * len(survey.kinds), len(survey.kinds), columns)
    for row, kind in zip(axes, survey.kinds, strict=True):
        chosen = spread(survey, kind, columns)
        for panel in row[len(chosen) :]:
            panel.set_axis_off()
        for panel, index in zip(row, chosen, strict=False):
            name = short(survey.collection.images.ids[index])
            size = f"{survey.images['width'][index]} × {survey.images['height'][index]} px"
            picture(
                panel,
                window(survey, index),
                f"{name}\n{size}, {quantity(survey.images['nuclei'][index], 'nucleus', 'nuclei')}",
            )
        row_label(row[0], kind)
    return figure


def spread(survey: Survey, kind: str, count: int) -> list[int]:
    """Choose images of a kind, evenly from those with the smallest nuclei to those with the largest."""
    own = [index for index, other in enumerate(survey.images["kind"]) if other == kind]
    own.sort(
        key=lambda index: (-1.0 if survey.images["nuclei"][index] == 0 else survey.images["diameter"][index], index)
    )
    count = min(count, len(own))
    return [own[round(place * (len(own) - 1) / max(count - 1, 1))] for place in range(count)]


def typical(survey: Survey, kind: str) -> int:
    """The image of a kind whose nuclei are of middle size."""
    chosen = spread(survey, kind, 3)
    return chosen[len(chosen) // 2]


def window(survey: Survey, index: int):
    """Cut the middle out of a normalised image, at most 256 pixels a side, (h, w, 3) uint8."""
    pixels = survey.collection.images.pixels(index)
    top, left = (max(length - WINDOW, 0) // 2 for length in pixels.shape[:2])
    return pixels[top : top + WINDOW, left : left + WINDOW]


def describe_gallery(survey: Survey) -> str:
    """Say how many images of which kind there are."""
    kinds = survey.images["kind"]
    parts = [
        f"{(kinds == kind).sum():,} {kind} ({percent((kinds == kind).mean())}: {_MEANING[kind]})"
        for kind in survey.kinds
    ]
    subsets = survey.collection.subsets
    sizes = [f"{subsets.count(name):,} {name}" for name in dict.fromkeys(sorted(subsets, key=_order))]
    return (
        f"{quantity(len(kinds), 'image')} with {quantity(len(survey.nuclei['label']), 'nucleus', 'nuclei')}: "
        f"{listing(parts)}; split into {listing(sizes)} (from {survey.collection.split_origin})."
    )


def _order(subset: str) -> tuple:
    return ({"train": 0, "val": 1, "test": 2}.get(subset, 3), subset)

"""How large the images are."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.style import COLOURS, frame, legend, plain, whole_numbers
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity
from segmentation.training.config import TrainingConfig

# Bars; what is rarer is put together.
_MOST = 12


def draw_sizes(survey: Survey) -> Figure:
    """Draw how many images have which size, the smallest first."""
    sizes = image_sizes(survey)
    names = list(sizes)[:_MOST]
    names.sort(key=lambda size: size[0] * size[1])
    rows = [(f"{width} × {height}", sizes[width, height]) for width, height in names]
    if len(sizes) > _MOST:
        rest = [index for size, indices in sizes.items() if size not in names for index in indices]
        rows.append((f"{len(sizes) - _MOST} other sizes", rest))
    figure, ((axes,),) = frame(7.5, 1.2 + 0.32 * len(rows))
    starts = np.zeros(len(rows))
    for kind in survey.kinds:
        counts = np.array([np.count_nonzero(survey.images["kind"][indices] == kind) for _, indices in rows])
        axes.barh(range(len(rows)), counts, left=starts, color=COLOURS[kind], label=kind)
        starts += counts
    for row, total in enumerate(starts):
        axes.text(total, row, f" {total:,.0f}", va="center", fontsize=9)
    plain(axes, "Image sizes", "Images", "Width × height (pixels)")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.grid(visible=False, axis="y")
    whole_numbers(axes.xaxis)
    axes.set_xlim(0, 1.08 * starts.max())
    legend(axes)
    return figure


def image_sizes(survey: Survey) -> dict[tuple[int, int], list[int]]:
    """Images by (width, height), the most frequent size first."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for index, size in enumerate(zip(survey.images["width"].tolist(), survey.images["height"].tolist(), strict=True)):
        sizes.setdefault(size, []).append(index)
    return dict(sorted(sizes.items(), key=lambda item: -len(item[1])))


def describe_sizes(survey: Survey) -> str:
    """Say how far the sizes differ and what follows for training."""
    sizes = image_sizes(survey)
    (common, indices), *others = sizes.items()
    smallest, largest = (choose(sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
    total = len(survey.images["width"])
    if not others:
        return f"All {quantity(total, 'image')} have {_named(common)} pixels."
    ratio = largest[0] * largest[1] / (smallest[0] * smallest[1])
    crop = TrainingConfig().crop_size
    shorter = np.minimum(survey.images["width"], survey.images["height"])
    return (
        f"{len(sizes)} sizes from {_named(smallest)} to {_named(largest)} pixels, {ratio:.1f} times the area; "
        f"{percent(len(indices) / total)} of the images have {_named(common)}: shrinking all to one size would blur "
        f"the large ones, so the network learns from crops at native scale ({crop} pixels a side by default, which "
        f"{percent((shorter >= crop).mean())} of the images can hold)."
    )


def _named(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"

"""What all plots share: colours that the colour-blind can tell apart, one for each kind of image, and a frame."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure  # not pyplot: no display, no global state
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from segmentation.data.modality import FLUORESCENCE, SMEAR, STAINED

# Okabe and Ito, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY_BLUE, YELLOW, VERMILLION = "#56B4E9", "#F0E442", "#D55E00"
GREY = "#777777"

COLOURS = {FLUORESCENCE: BLUE, STAINED: PURPLE, SMEAR: ORANGE}
MARKERS = {FLUORESCENCE: "o", STAINED: "s", SMEAR: "^"}


def frame(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """Make a figure of `width` by `height` inches with (rows, columns) axes."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=100)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def plain(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Name the axes, take away the lines that say nothing, and draw a faint grid."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def legend(axes: Axes, place: str = "best") -> None:
    """Add a legend that can be read where it lies over bars."""
    axes.legend(fontsize=9, loc=place, framealpha=0.85, edgecolor="none")


def whole_numbers(axis: Axis) -> None:
    """Put no ticks between the whole numbers of an axis that counts."""
    axis.set_major_locator(MaxNLocator(steps=(1, 2, 5, 10), integer=True))


def row_label(axes: Axes, kind: str) -> None:
    """Write a kind beside the first picture of its row."""
    axes.text(
        -0.04, 0.5, kind, color=COLOURS.get(kind, "black"), weight="bold", rotation=90,
        transform=axes.transAxes, ha="right", va="center",
    )  # fmt: skip


def picture(axes: Axes, pixels: np.ndarray, title: str = "", colour: str = "black") -> None:
    """Show an (H, W, 3) uint8 picture without axes."""
    axes.imshow(pixels, interpolation="nearest")
    axes.set_title(title, fontsize=8, color=colour)
    axes.set_axis_off()


def stack_by_kind(axes: Axes, values: np.ndarray, kinds: np.ndarray, order: Sequence[str], bins: np.ndarray) -> None:
    """Draw a histogram whose bars are divided by kind; values that are NaN are left out."""
    parts = [values[(kinds == kind) & np.isfinite(values)] for kind in order]
    labels = [f"{kind} ({np.count_nonzero(kinds == kind):,})" for kind in order]
    whole_numbers(axes.yaxis)
    axes.hist(parts, bins, stacked=True, color=[COLOURS[kind] for kind in order], label=labels)


def scatter_by_kind(axes: Axes, x: np.ndarray, y: np.ndarray, kinds: np.ndarray, order: Sequence[str]) -> None:
    """Draw a point an image, with the colour and the marker of its kind."""
    for kind in order:
        own = kinds == kind
        axes.scatter(
            x[own], y[own], 22, COLOURS[kind], marker=MARKERS[kind], alpha=0.6, linewidths=0,
            label=f"{kind} ({np.count_nonzero(own):,})",
        )  # fmt: skip


def octaves(values: np.ndarray, per_octave: int) -> np.ndarray:
    """Edges of bins that grow by the same factor, for a logarithmic axis over positive values; NaN are ignored."""
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.log2([values.min(), values.max()]) if values.size else (0, 1)
    steps = np.arange(np.floor(low * per_octave), np.floor(high * per_octave) + 2)
    return 2 ** (steps / per_octave)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis, on which all is drawn, 1, 10, 100 and not by powers."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 100 * low else (1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())

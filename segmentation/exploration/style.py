"""What all plots share: a colour for each kind of image, axes, and how a notebook shows them."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure  # not pyplot, which keeps global state and wants a display
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from segmentation.data.modality import FLUORESCENCE, SMEAR, STAINED

# Told apart by the colour-blind: Okabe and Ito, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, PURPLE, VERMILLION, GREY = "#0072B2", "#E69F00", "#CC79A7", "#D55E00", "#777777"
COLOURS = {FLUORESCENCE: BLUE, STAINED: PURPLE, SMEAR: ORANGE}
MARKERS = {FLUORESCENCE: "o", STAINED: "s", SMEAR: "^"}


def frame(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """Make a figure of `width` by `height` inches with (rows, columns) axes."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=100)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def plain(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Name the axes, remove the upper and right line, and draw a faint grid."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def legend(axes: Axes, place: Any = "best") -> None:
    """Add a legend that can be read where it lies over bars."""
    axes.legend(fontsize=9, loc=place, framealpha=0.85, edgecolor="none")


def whole_numbers(axis: Axis) -> None:
    """Put ticks on whole numbers only."""
    axis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))


def log_scale(axes: Axes, which: str = "x") -> None:
    """Make axes logarithmic, labelled 1, 10, 100; call when everything is drawn."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.axis_name in which:
            axes.set(**{f"{axis.axis_name}scale": "log"})
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 100 * low else (1, 3)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())


def row_label(axes: Axes, kind: str) -> None:
    """Write a kind beside the first picture of its row."""
    axes.text(
        -0.04, 0.5, kind, color=COLOURS.get(kind, "black"), weight="bold", rotation=90,
        transform=axes.transAxes, ha="right", va="center",
    )  # fmt: skip


def picture(axes: Axes, pixels: np.ndarray, title: str = "") -> None:
    """Show an (H, W, 3) uint8 picture without axes."""
    axes.imshow(pixels, interpolation="nearest")
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def histogram_by_kind(axes: Axes, values: pd.Series, kinds: pd.Series, bins: np.ndarray) -> None:
    """Draw a histogram whose bars are divided by kind, without missing values."""
    order = kinds.cat.categories
    labels = [f"{kind} ({(kinds == kind).sum():,})" for kind in order]
    parts = [values[kinds == kind].dropna() for kind in order]
    axes.hist(parts, list(bins), stacked=True, color=[COLOURS[kind] for kind in order], label=labels)
    whole_numbers(axes.yaxis)


def bars_by_kind(axes: Axes, table: pd.DataFrame, names: Sequence[str], horizontal: bool = False) -> None:
    """Draw a table of counts, a row a bar that is divided by the kinds in the columns, with its total beside it."""
    table.set_axis(names).plot(
        kind="barh" if horizontal else "bar", stacked=True, width=0.8, color=COLOURS, rot=0, ax=axes
    )
    last: Any = axes.containers[-1]
    axes.bar_label(last, [f" {total:,.0f}" for total in table.sum(axis=1)], fontsize=9)
    axes.margins(0.1)
    axes.grid(visible=False, axis="y" if horizontal else "x")
    whole_numbers(axes.xaxis if horizontal else axes.yaxis)


def scatter_by_kind(axes: Axes, x: pd.Series, y: pd.Series, kinds: pd.Series) -> None:
    """Draw a point an image, with the colour and the marker of its kind."""
    for kind in kinds.cat.categories:
        own = kinds == kind
        axes.scatter(
            x[own], y[own], 22, COLOURS[kind], marker=MARKERS[kind], alpha=0.6, linewidths=0,
            label=f"{kind} ({own.sum():,})",
        )  # fmt: skip


def log_bins(values: pd.Series) -> np.ndarray:
    """Return edges of bins for a logarithmic axis over positive values."""
    values = values[values > 0]
    return np.geomspace(values.min(), values.max() + 1, 25) if len(values) else np.array([1, 2])


def show(figure: Figure, finding: str) -> None:
    """Display a figure, and under it the sentence (Markdown) that says what it shows.

    As PNG, or as JPEG where that takes less than half: photographs in PNG make a notebook of megabytes.
    """
    from IPython.display import Image, Markdown, display  # comes with Jupyter alone

    sharp, small = png(figure), _drawn(figure, format="jpeg", pil_kwargs={"quality": 85})
    display(Image(data=small if len(small) < len(sharp) / 2 else sharp, alt=finding))
    display(Markdown(f"**Finding.** {finding}"))


def png(figure: Figure) -> bytes:
    """Return a figure as PNG; the same figure gives the same bytes, whatever the version of matplotlib."""
    return _drawn(figure, format="png", metadata={"Software": None})


def _drawn(figure: Figure, **options: Any) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=90, **options)
    return buffer.getvalue()

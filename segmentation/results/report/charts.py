"""Where the bars, lines and ticks of a chart are; the templates draw them as SVG."""

import math
from dataclasses import dataclass, field

import numpy as np

# In units of the drawing, which the page scales to the width that there is.
WIDTH, HEIGHT = 400, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 40
# At most; the widths of bars are round numbers.
_BARS = 48
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Tick:
    """A number beside an axis.

    Attributes
    ----------
    at : float
        Where, in units of the drawing.
    text : str
    """

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A drawing, `WIDTH` by `HEIGHT`.

    Attributes
    ----------
    title, x_label, y_label : str
    summary : str
        What there is to see, for those who do not see it.
    x_ticks, y_ticks : list of Tick
    bars : list of dict
        Each with x, y, width, height, and its text.
    lines : list of dict
        Each with its name and the points of a polyline.
    mark : float, optional
        Where a vertical line is.
    note : str
        Stands below.
    """

    title: str
    x_label: str
    y_label: str
    summary: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bars: list[dict] = field(default_factory=list)
    lines: list[dict] = field(default_factory=list)
    mark: float | None = None
    note: str = ""

    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    width, height = WIDTH, HEIGHT


def histogram(title, x_label, y_label, noun, verb, values, counts=None, unit=""):
    """Draw how often values occur.

    The axis ends at the 99.5th percentile, so that a few giants do not squeeze the others; the note counts those.

    Parameters
    ----------
    title, x_label, y_label : str
    noun, verb : str
        What is counted, in the plural, and how it has its values: "nuclei", "measure".
    values : (n,) ndarray
        At least one; none is negative.
    counts : (n,) ndarray of int, optional
        How often each value occurs; once without it.
    unit : str
        Of the values.

    Returns
    -------
    Chart
    """
    values = np.asarray(values, float)
    counts = np.ones(len(values), np.int64) if counts is None else np.asarray(counts)
    order = np.argsort(values)
    values, counts = values[order], counts[order]
    low, median, high, most = (quantile(values, counts, part) for part in (0.05, 0.5, 0.95, 0.995))
    whole = bool((values == np.rint(values)).all())
    width = nice_step(max(most, 1 if whole else most) / _BARS, whole)
    bins = int(most // width) + 1
    heights = np.bincount((values // width).astype(np.int64).clip(max=bins), counts, bins + 1)
    beyond = int(heights[bins])
    heights = heights[:bins].astype(np.int64)

    x_ticks, x = _axis(0, bins * width, _LEFT, WIDTH - _RIGHT, 6, whole)
    y_ticks, y = _axis(0, heights.max(), HEIGHT - _BOTTOM, _TOP, 4, True)
    bars = [
        {
            "x": round(x(index * width), 2),
            "y": round(y(count), 2),
            "width": round(x(width) - x(0), 2),
            "height": round(y(0) - y(count), 2),
            "text": f"{_bin_text(index, width, whole)}{unit}: {count:,} {noun}",
        }
        for index, count in enumerate(heights.tolist())
        if count
    ]
    summary = f"Median {number(median)}{unit}; nine out of ten {noun} {verb} {number(low)} to {number(high)}{unit}."
    note = f"{beyond:,} {noun} above {number(bins * width)}{unit} are not drawn." if beyond else ""
    return Chart(title, x_label, y_label, summary, x_ticks, y_ticks, bars=bars, note=note)


def curves(title, y_label, series, *, mark=None, logarithmic=False, highest=None):
    """Draw figures over epochs.

    Parameters
    ----------
    title, y_label : str
    series : dict of str to sequence of float
        By name, a value for each epoch; at least one. Those that are no finite numbers are left out.
    mark : int, optional
        Epoch, from 1, at which a vertical line stands.
    logarithmic : bool
        Values are above 0.
    highest : float, optional
        Where the axis ends; without it, at the highest value.

    Returns
    -------
    Chart
    """
    epochs = len(next(iter(series.values())))
    values = np.array([value for line in series.values() for value in line if math.isfinite(value)] or [0.0])
    transform = (lambda value: math.log10(max(value, 1e-30))) if logarithmic else float
    low, high = transform(values.min()), transform(values.max() if highest is None else highest)
    if logarithmic:
        low, high = math.floor(low), math.ceil(high)
    elif high == low:
        low, high = low - 0.5, high + 0.5
    x_ticks, x = _axis(1, max(epochs, 2), _LEFT, WIDTH - _RIGHT, 6, True)
    if logarithmic:
        high = max(high, low + 1)
        y = _scale(low, high, HEIGHT - _BOTTOM, _TOP)
        y_ticks = [Tick(round(y(power), 2), "10" + f"{power}".translate(_RAISED)) for power in range(low, high + 1)]
    else:
        y_ticks, y = _axis(low, high, HEIGHT - _BOTTOM, _TOP, 4, False)
    lines = [
        {
            "name": name,
            "points": " ".join(
                f"{x(epoch):.1f},{y(transform(value)):.1f}"
                for epoch, value in enumerate(line, 1)
                if math.isfinite(value)
            ),
        }
        for name, line in series.items()
    ]
    ends = ", ".join(f"{name} from {number(line[0])} to {number(line[-1])}" for name, line in series.items())
    summary = f"Over {epochs} epoch{'' if epochs == 1 else 's'}: {ends}."
    at = None if mark is None else round(x(mark), 2)
    return Chart(title, "Epoch", y_label, summary, x_ticks, y_ticks, lines=lines, mark=at)


def number(value):
    """Format a number with three significant digits, or all of a whole one."""
    if value >= 1000 or value % 1 == 0:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def quantile(values, counts, part):
    """The smallest of some sorted values that at least a part of all is not above, where each occurs several times."""
    cumulated = np.cumsum(counts)
    return float(values[np.searchsorted(cumulated, part * cumulated[-1])])


def nice_step(least, whole):
    """The smallest of 1, 2, 5, 10, 20 ... that is not below `least`; of 0.1, 0.2, 0.5 ... too if not `whole`."""
    if whole and least <= 1:
        return 1
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    return int(step) if whole else step


def _axis(low, high, start, end, ticks, whole):
    """Ticks at nice numbers, and the function from values to places."""
    step = nice_step((high - low) / ticks, whole)
    place = _scale(low, high if high > low else low + 1, start, end)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    values = [(first + index) * step for index in range(count)]
    decimals = 0 if step >= 1 else -math.floor(math.log10(step))
    texts = [f"{value:,.{decimals}f}" for value in values]
    return [Tick(round(place(value), 2), text) for value, text in zip(values, texts, strict=True)], place


def _scale(low, high, start, end):
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _bin_text(index, width, whole):
    low, high = index * width, (index + 1) * width
    if whole:
        return number(low) if width == 1 else f"{number(low)} to {number(high - 1)}"
    return f"{number(low)} to {number(high)}"

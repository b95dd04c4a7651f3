"""Histograms for the pages: where their bars and ticks are. The templates draw them as SVG.

matplotlib is not used, because prediction does not require it. Besides, importing it and drawing two charts takes
1.4 s, which these take in 2 ms, and its colours are style attributes, which do not follow the browser's dark mode.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Size of a chart, in units that the page scales to the width it has.
WIDTH, HEIGHT = 400, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 40
# The most bars between the axes' ends.
_BARS = 48
# For fewer values than this, the summary gives their range instead of that of the middle 90 %.
_FEW = 20


class Tick(NamedTuple):
    """A number beside an axis, at a place in units of the chart."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart of `WIDTH` x `HEIGHT` units from its top left corner; bars have x, y, width, height and text."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bars: list[dict]
    summary: str

    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    width, height = WIDTH, HEIGHT


def histogram(
    title: str,
    x_label: str,
    y_label: str,
    nouns: tuple[str, str],
    values: Sequence[float] | np.ndarray,
    counts: np.ndarray | None = None,
    unit: str = "",
) -> Chart:
    """Draw how often values occur.

    One bar, apart from the others, holds all values above the 99th percentile. The axis is logarithmic if the median
    is in its lowest tenth. There is at least one of the `values`, (n,), none is negative, and each occurs `counts`
    times, by default once. `nouns` says what is counted, in the singular and the plural.
    """
    values = np.asarray(values, float)
    counts = np.ones(len(values), np.int64) if counts is None else counts
    lowest, median, most = (quantile(values, counts, part) for part in (0, 0.5, 0.99))
    whole = bool((values == np.rint(values)).all())
    is_logarithmic = lowest > 0 and median < most / 10
    edges = _geometric_edges(lowest, most, whole) if is_logarithmic else _even_edges(most, whole)
    heights = np.histogram(values, [*edges, np.inf], weights=counts)[0].astype(np.int64).tolist()

    has_rest = heights[-1] > 0
    end = WIDTH - _RIGHT - (14 if has_rest else 0)
    axis = _logarithmic_axis if is_logarithmic else _axis
    x_ticks, x = axis(edges[0], edges[-1], _LEFT, end, 6, whole)
    y_ticks, y = _axis(0, max(heights), HEIGHT - _BOTTOM, _TOP, 4, True)
    places = [x(edge) for edge in edges]
    spans = [*zip(places[:-1], places[1:], strict=True), (end + 6, WIDTH - _RIGHT)]
    texts = [f"{_bin_text(*ends, whole)}{unit}" for ends in zip(edges[:-1], edges[1:], strict=True)]
    texts.append(f"{number(edges[-1])}{unit} or more")
    bars = [
        {
            "x": round(left, 2),
            "y": round(y(count), 2),
            "width": round(right - left, 2),
            "height": round(y(0) - y(count), 2),
            "text": f"{text}: {counted(count, *nouns)}",
        }
        for (left, right), text, count in zip(spans, texts, heights, strict=True)
        if count
    ]
    summary = _summary(values, counts, unit)
    if has_rest:
        summary += f" The bar apart from the others: {counted(heights[-1], *nouns)} of {texts[-1]}."
    return Chart(title, x_label, y_label, x_ticks, y_ticks, bars, summary)


def _summary(values: np.ndarray, counts: np.ndarray, unit: str) -> str:
    parts = (0, 0.5, 1) if counts.sum() < _FEW else (0.05, 0.5, 0.95)
    low, median, high = (number(quantile(values, counts, part)) for part in parts)
    if counts.sum() == 1:
        return f"The only value is {median}{unit}."
    if counts.sum() < _FEW:
        return f"Median {median}{unit}; all are between {low} and {high}{unit}."
    return f"Median {median}{unit}; 90 % are between {low} and {high}{unit}."


def number(value: float) -> str:
    """Format a number: all digits of a whole number or one from 1,000 on, else three significant digits."""
    return f"{value:,.0f}" if value >= 1000 or value % 1 == 0 else f"{value:.3g}"


def counted(count: int, one: str, many: str) -> str:
    """Return a count with its noun: "1 nucleus", "2,000 nuclei"."""
    return f"{count:,} {one if count == 1 else many}"


def quantile(values: np.ndarray, counts: np.ndarray, part: float) -> float:
    """Return the weighted quantile, always one of the values."""
    return float(np.quantile(values, part, weights=counts, method="inverted_cdf"))


def nice_step(least: float, whole: bool) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... from `least` on; unless `whole`, of 0.1, 0.2, 0.5 ... too."""
    if least <= (1 if whole else 0):
        return 1
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    return int(step) if whole else step


def _even_edges(most: float, whole: bool) -> list[float]:
    width = nice_step(max(most, 1 if whole else most) / _BARS, whole)
    return [index * width for index in range(int(most // width) + 2)]


def _geometric_edges(lowest: float, most: float, whole: bool) -> list[float]:
    """Return edges of bars that are equally wide on a logarithmic axis, at most 20 for each power of ten."""
    steps = min(20, max(1, math.floor(_BARS / math.log10(most / lowest)) - 1))
    first, last = (math.floor(math.log10(value) * steps) for value in (lowest, most))
    edges = [min(lowest, 10 ** (first / steps)), *(10 ** (index / steps) for index in range(first + 1, last + 2))]
    return sorted({math.ceil(edge - 1e-9) for edge in edges}) if whole else edges


def _axis(
    low: float, high: float, start: float, end: float, ticks: int, whole: bool
) -> tuple[list[Tick], Callable[[float], float]]:
    """Return ticks at nice numbers, and the function from values to places."""
    step = nice_step((high - low) / ticks, whole)
    decimals = 0 if step >= 1 else -math.floor(math.log10(step))
    values = [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]

    def place(value: float) -> float:
        return start + (value - low) / ((high - low) or 1) * (end - start)

    return [Tick(round(place(value), 2), f"{value:,.{decimals}f}") for value in values], place


def _logarithmic_axis(
    low: float, high: float, start: float, end: float, ticks: int, whole: bool
) -> tuple[list[Tick], Callable[[float], float]]:
    """Return ticks at 1, 2, 5, 10 ..., or at powers of ten if these are too many, and the same function."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    inside = [[n * power for power in powers for n in ns if low <= n * power <= high] for ns in ((1, 2, 5), (1,))]

    def place(value: float) -> float:
        return start + math.log(value / low) / math.log(high / low) * (end - start)

    return [Tick(round(place(value), 2), number(value)) for value in inside[len(inside[0]) > ticks + 2]], place


def _bin_text(low: float, high: float, whole: bool) -> str:
    if whole:
        return number(low) if high == low + 1 else f"{number(low)} to {number(high - 1)}"
    return f"{number(low)} to {number(high)}"

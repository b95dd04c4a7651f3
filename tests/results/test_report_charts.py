import re

import numpy as np
import pytest

from segmentation.results.report.charts import WIDTH, counted, histogram, nice_step, number, quantile

NUCLEI = ("nucleus", "nuclei")


def counts(chart):
    """From what each bar says of itself."""
    return [int(re.search(r": ([\d,]+) ", bar["text"])[1].replace(",", "")) for bar in chart.bars]


def limits(bar):
    """First and last whole number that a bar says it counts, or the first and infinity."""
    low, high = re.match(r"([\d,]+)(?: px²)?(?: to ([\d,]+)| or more)?", bar["text"]).groups()
    low = int(low.replace(",", ""))
    return low, int(high.replace(",", "")) if high else np.inf if "or more" in bar["text"] else low


def areas(seed=0, size=3000):
    return np.random.default_rng(seed).gamma(4, 90, size).astype(np.int64) + 1


def mixture():
    """Two thirds are small nuclei, the others a hundred times as large."""
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(60, 8, 2000), rng.normal(6000, 900, 1000)]).astype(np.int64)


@pytest.mark.parametrize("values", [areas(), np.append(areas(), [50_000] * 7), mixture()])
def test_each_bar_says_how_many_values_it_holds(values):
    chart = histogram("t", "x", "y", NUCLEI, values, unit=" px²")
    assert sum(counts(chart)) == len(values)
    for bar, count in zip(chart.bars, counts(chart), strict=True):
        low, high = limits(bar)
        assert count == ((values >= low) & (values <= high)).sum(), bar["text"]


@pytest.mark.parametrize("values", [areas(), mixture(), mixture() * 0.0625])
def test_no_bar_holds_most_of_the_values(values):
    chart = histogram("t", "x", "y", NUCLEI, values, unit=" px²")
    assert max(counts(chart)) < 0.25 * len(values)
    assert len(chart.bars) > 10


def test_a_mixture_has_a_logarithmic_axis():
    chart = histogram("t", "x", "y", NUCLEI, mixture())
    ticks = {tick.text: tick.at for tick in chart.x_ticks}
    assert ticks["1,000"] - ticks["100"] == pytest.approx(ticks["500"] - ticks["50"], abs=0.02)


def test_the_largest_values_have_a_bar_of_their_own_that_says_so():
    values = np.append(areas(), [50_000] * 7)
    chart = histogram("t", "x", "y", NUCLEI, values, unit=" px²")
    *others, last = chart.bars
    assert last["x"] - max(bar["x"] + bar["width"] for bar in others) >= 5
    beyond = counts(chart)[-1]
    assert 7 <= beyond <= 0.01 * len(values)
    limit = limits(last)[0]
    assert chart.summary.endswith(f" The bar apart from the others: {beyond} nuclei of {limit:,} px² or more.")
    one = histogram("t", "x", "y", NUCLEI, [*[5] * 500, 900])
    assert one.summary.endswith(": 1 nucleus of 6 or more.")
    assert one.bars[-1]["text"] == "6 or more: 1 nucleus"


def test_heights_are_proportional_and_bars_stand_on_the_axis():
    chart = histogram("t", "x", "y", NUCLEI, areas())
    heights = [bar["height"] for bar in chart.bars]
    np.testing.assert_allclose(heights, np.array(counts(chart)) * max(heights) / max(counts(chart)), atol=0.02)
    assert {round(bar["y"] + bar["height"], 1) for bar in chart.bars} == {chart.bottom}


def test_values_that_occur_several_times():
    values, times = np.unique(areas(), return_counts=True)
    one = histogram("t", "x", "y", NUCLEI, areas())
    other = histogram("t", "x", "y", NUCLEI, values, times)
    assert one == other


@pytest.mark.parametrize(
    ("values", "summary"),
    [
        (np.arange(1, 101), "Median 50; 90 % are between 5 and 95."),
        (np.arange(1, 9), "Median 4; all are between 1 and 8."),
        ([7], "The only value is 7."),
    ],
)
def test_the_summary_claims_no_more_than_the_values_tell(values, summary):
    assert histogram("t", "x", "y", ("image", "images"), values).summary.startswith(summary)


@pytest.mark.parametrize(
    "values",
    [
        [0],
        [5],
        [1, 1, 1],
        [0.02, 0.03],
        [1e6, 3e6],
        [1, 1, 1e6],
        [0, 0, 900],
        [0.001, 0.002, 7],
        range(1000),
        mixture(),
    ],
)
def test_any_values_give_a_drawing_within_its_frame(values):
    chart = histogram("t", "x", "y", NUCLEI, values)
    assert sum(counts(chart)) == len(values)
    assert 1 <= len(chart.bars) <= 60
    for bar in chart.bars:
        assert chart.left <= bar["x"] < bar["x"] + bar["width"] <= chart.right + 0.1
        assert chart.top <= bar["y"] <= chart.bottom
    for tick in chart.x_ticks:
        assert chart.left <= tick.at <= WIDTH
    assert len({tick.text for tick in chart.x_ticks}) == len(chart.x_ticks) >= 2


def test_quantiles_are_values_that_occur():
    values, times = np.array([1.0, 5.0, 9.0]), np.array([1, 8, 1])
    assert [quantile(values, times, part) for part in (0.05, 0.5, 0.95)] == [1, 5, 9]


@pytest.mark.parametrize(
    ("least", "whole", "step"), [(0.3, True, 1), (3, True, 5), (2, True, 2), (70, False, 100), (0.03, False, 0.05)]
)
def test_steps_are_round(least, whole, step):
    assert nice_step(least, whole) == pytest.approx(step)


def test_numbers():
    texts = [number(value) for value in (0, 12, 3.14159, 1234.6, 1_000_000, 0.00123, float("nan"))]
    assert texts == ["0", "12", "3.14", "1,235", "1,000,000", "0.00123", "nan"]
    assert [counted(count, *NUCLEI) for count in (0, 1, 2000)] == ["0 nuclei", "1 nucleus", "2,000 nuclei"]

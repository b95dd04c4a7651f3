import re

import numpy as np
import pytest

from segmentation.results.report.charts import HEIGHT, WIDTH, curves, histogram, nice_step, number, quantile


def counts(chart):
    """From what each bar says of itself."""
    return [int(re.search(r": ([\d,]+) ", bar["text"])[1].replace(",", "")) for bar in chart.bars]


def areas(seed=0, size=3000):
    return np.random.default_rng(seed).gamma(4, 90, size).astype(np.int64) + 1


def test_each_value_is_in_a_bar_or_in_the_note():
    values = np.append(areas(), [50_000] * 7)
    chart = histogram("t", "x", "y", "nuclei", "measure", values, unit=" px²")
    beyond = int(re.match(r"(\d+) nuclei above", chart.note)[1])
    assert beyond >= 7
    assert sum(counts(chart)) + beyond == len(values)
    limit = int(re.search(r"above ([\d,]+)", chart.note)[1].replace(",", ""))
    assert beyond == (values >= limit).sum()
    expected = np.histogram(values, np.arange(0, limit + 1, limit / round(limit / nice_width(chart))))[0]
    assert counts(chart) == expected[expected > 0].tolist()


def nice_width(chart):
    low, high = re.match(r"([\d,]+) to ([\d,]+)", chart.bars[0]["text"]).groups()
    return int(high.replace(",", "")) + 1 - int(low.replace(",", ""))


def test_heights_are_proportional_and_bars_stand_on_the_axis():
    chart = histogram("t", "x", "y", "nuclei", "measure", areas())
    heights = [bar["height"] for bar in chart.bars]
    np.testing.assert_allclose(heights, np.array(counts(chart)) * max(heights) / max(counts(chart)), atol=0.02)
    assert {round(bar["y"] + bar["height"], 1) for bar in chart.bars} == {chart.bottom}


def test_values_that_occur_several_times():
    values, times = np.unique(areas(), return_counts=True)
    one = histogram("t", "x", "y", "nuclei", "measure", areas())
    other = histogram("t", "x", "y", "nuclei", "measure", values, times)
    assert one == other


def test_median_and_limits_are_said():
    chart = histogram("t", "x", "y", "images", "hold", np.arange(1, 101))
    assert chart.summary == "Median 50; nine out of ten images hold 5 to 95."


@pytest.mark.parametrize("values", [[0], [5], [1, 1, 1], [0.02, 0.03], [1e6, 3e6], range(1000)])
def test_any_values_give_a_drawing_within_its_frame(values):
    chart = histogram("t", "x", "y", "nuclei", "measure", values)
    assert sum(counts(chart)) <= len(values)
    assert 1 <= len(chart.bars) <= 60
    for bar in chart.bars:
        assert chart.left <= bar["x"] < bar["x"] + bar["width"] <= chart.right + 0.1
        assert chart.top <= bar["y"] <= chart.bottom
    for tick in chart.x_ticks:
        assert chart.left <= tick.at <= WIDTH
    assert len({tick.text for tick in chart.x_ticks}) == len(chart.x_ticks) >= 2


def points(line):
    return [tuple(map(float, point.split(","))) for point in line["points"].split()]


def test_curves_go_where_the_values_are():
    chart = curves("t", "y", {"training": [4.0, 2.0, 1.0], "validation": [3.0, 2.5, 2.0]}, mark=2)
    training, validation = map(points, chart.lines)
    assert [x for x, _ in training] == [chart.left, (chart.left + chart.right) / 2, chart.right]
    assert training[0][1] == chart.top and training[-1][1] == chart.bottom, "larger is higher"
    assert validation[-1][1] == training[1][1]
    assert chart.mark == training[1][0]
    assert chart.summary == "Over 3 epochs: training from 4 to 1, validation from 3 to 2."


def test_a_logarithmic_axis_has_powers_of_ten():
    chart = curves("t", "y", {"used": [2e-3, 1e-4, 2e-5]}, logarithmic=True)
    assert [tick.text for tick in chart.y_ticks] == ["10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²"]
    steps = np.diff([tick.at for tick in chart.y_ticks])
    np.testing.assert_allclose(steps, steps[0], atol=0.02)
    assert points(chart.lines[0])[1][1] == pytest.approx(chart.y_ticks[1].at, abs=0.1)


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5], [float("nan"), 1.0], [float("nan")], [0.0, 0.0]])
def test_few_equal_or_missing_values(values):
    chart = curves("t", "y", {"loss": values}, mark=1)
    for x, y in points(chart.lines[0]):
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT


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

import re
from pathlib import Path

import numpy as np
import pytest

from segmentation.bundle import load_bundle
from segmentation.data.splits import SplitRow, write_split
from segmentation.evaluation.scores import score_image, set_figures
from segmentation.exploration import performance as module
from segmentation.exploration.performance import examine_model, found_by_trait, found_nuclei, mark_failures, ranked

pytestmark = pytest.mark.slow

MODEL = Path(__file__).parents[2] / "models" / "nuclei"


class Predictor:
    """Gives back label maps that are known, image after image."""

    def __init__(self, label_maps):
        self.label_maps = iter(label_maps)

    def __call__(self, image):
        return next(self.label_maps)


@pytest.fixture
def two(survey_of, dotted, tmp_path):
    """A test image of four disks, two of which touch, and one of one; and one to train on."""
    images = {
        "four": dotted([(30, 30, 4), (30, 90, 10), (90, 30, 10), (90, 51, 10)]),
        "one": dotted([(60, 60, 25)]),
        "train": dotted([(60, 60, 12)]),
    }
    rows = {"four": SplitRow("test", None, "a"), "one": SplitRow("test", None, "b"), "train": SplitRow("train")}
    write_split(rows, tmp_path / "split.csv")
    return survey_of(images, tmp_path / "split.csv")


@pytest.fixture
def performed(two, monkeypatch):
    """The two that touch come out as one, the small one is missed, and something is found where nothing is."""
    four = two.cached.label_map(0)
    four = np.where(four == 4, 3, np.where(four == 1, 0, four)).astype(np.int32)
    four[110:120, 110:120] = 1
    one = two.cached.label_map(1)
    monkeypatch.setattr(module, "open_predictor", lambda bundle: Predictor([four, one]))
    return examine_model(two, load_bundle(MODEL))


def test_scores_are_those_of_the_evaluation(two, performed):
    assert performed.rows == [0, 1]
    by_hand = [score_image(two.cached.label_map(i), performed.label_maps[i]) for i in (0, 1)]
    assert performed.evaluation.images["dice"].tolist() == [score.dice for score in by_hand]
    assert performed.evaluation.images["kind"].tolist() == ["fluorescence"] * 2 and performed.evaluation.groups == 2
    figures = {name: figure.value for name, figure in performed.evaluation.figures.items()}
    assert figures == pytest.approx(set_figures(by_hand))
    assert ranked(performed) == [0, 1]


def test_what_is_found_by_trait(two, performed):
    assert performed.nuclei["found"].tolist() == [False, True, False, False, True]
    assert performed.nuclei["image"].tolist() == [0, 0, 0, 0, 1]
    traits = found_by_trait(performed.nuclei)
    shares = traits["found"].to_dict()
    assert traits["nuclei"]["all nuclei"] == 5
    assert shares["all nuclei"] == 0.4
    assert (shares["touching another"], shares["touching no other"]) == (0, pytest.approx(2 / 3))
    assert (shares["below 10 px"], shares["20 to 40 px"], shares["above 40 px"]) == (0, pytest.approx(1 / 3), 1)
    assert "cut by the edge" not in shares


def test_the_sentences(two, performed, monkeypatch):
    # Of five nuclei nothing is said by trait.
    sentence = module.describe(two, performed)
    assert sentence.startswith("On 2 test images the model nuclei (") and performed.bundle.digest[:8] in sentence
    assert "fewest" not in sentence and re.search(r"Dice coefficient of 0\.\d+ \(0\.\d+-[01]\.\d+\)", sentence)
    monkeypatch.setattr(module, "_FEWEST", 1)
    assert "it finds 40 % of the nuclei, fewest of the group “touching another” (0 %)" in module.describe(
        two, performed
    )
    assert module.describe_failures(two, performed).startswith(
        "Of all images together 3 of 5 nuclei are missed and 2 of 4 predicted ones match none; the worst image, four "
        "(fluorescence), has 1 match for 4 nuclei"
    )


def test_found_nuclei():
    truth = np.array([[1, 1, 1, 1, 0, 2, 2]])
    assert found_nuclei(truth, np.array([[1, 1, 1, 0, 0, 0, 2]])).tolist() == [True, False]
    assert found_nuclei(truth, np.zeros((1, 7), int)).tolist() == [False, False]
    assert found_nuclei(np.zeros((1, 7), int), truth).tolist() == []


def test_what_failed_is_marked(two, performed):
    pixels = np.zeros((128, 128, 3), np.uint8)
    marked = mark_failures(pixels, two.cached.label_map(0), performed.label_maps[0])
    assert marked[30, 90].tolist() == [round(0.55 * c) for c in module._FOUND]
    assert marked[30, 30].tolist() == marked[90, 30].tolist() == [round(0.55 * c) for c in module._MISSED]
    assert marked[115, 115].tolist() == [round(0.55 * c) for c in module._INVENTED]
    assert not marked[60, 60].any()


def test_performance_is_drawn(two, performed, tmp_path):
    module.draw(two, performed).savefig(tmp_path / "performance.png")
    figure = module.draw_failures(two, performed)
    figure.savefig(tmp_path / "failures.png")
    assert [axes.get_title() for axes in figure.axes[:3]] == ["four", "one", ""]


def test_nothing_predicted_and_nothing_there(survey_of, dotted, monkeypatch, tmp_path):
    measured = survey_of({"one": dotted([]), "two": dotted([], (64, 64))})
    empty = [np.zeros(measured.cached.label_map(i).shape, np.int32) for i in range(2)]
    monkeypatch.setattr(module, "open_predictor", lambda bundle: Predictor(empty))
    performed = examine_model(measured, load_bundle(MODEL))
    module.draw(measured, performed).savefig(tmp_path / "performance.png")
    module.draw_failures(measured, performed).savefig(tmp_path / "failures.png")
    assert module.describe(measured, performed).endswith(".")
    assert "0 of no nuclei are missed" in module.describe_failures(measured, performed)


def test_the_released_model_finds_the_nuclei_of_drawn_images(drawn_survey):
    performed = examine_model(drawn_survey, load_bundle(MODEL), most=2)
    assert len(performed.rows) <= 2
    assert performed.evaluation.images["dice"].min() > 0.8

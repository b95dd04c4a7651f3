import json

import numpy as np
import pytest

from segmentation import __version__
from segmentation.evaluation.folders import ScoredImage, TrueImage
from segmentation.evaluation.report import as_json, as_text, evaluate
from segmentation.evaluation.scores import AP_NAMES, score_image, set_figures


def scored(name, kind, group, hits, problem=None):
    truth = np.arange(1, 11).repeat(4)[None]
    prediction = np.where(truth <= hits, truth, 0)
    return ScoredImage(TrueImage(name, lambda: truth, kind, group), score_image(truth, prediction), problem)


def test_figures_counts_and_kinds():
    images = [
        scored("a", "stained", "1", 10),
        scored("b", "smear", "1", 5),
        scored("c", "stained", None, 0, "c: no prediction of that name"),
        scored("1", "smear", None, 10),
    ]
    evaluation = evaluate(images)
    assert evaluation.groups == 3  # an image "1" is not of the group "1"
    table = evaluation.images
    assert table.index.tolist() == ["a", "b", "c", "1"]
    assert table["kind"].tolist() == ["stained", "smear", "stained", "smear"]
    assert (table["true_nuclei"].sum(), table["predicted_nuclei"].sum()) == (40, 25)
    assert table["not seen"].tolist() == [0, 5, 10, 0] and not table[["fused with another", "split", "outline"]].any(
        axis=None
    )
    assert table["problem"].dropna().tolist() == ["c: no prediction of that name"]
    assert table.loc["b", list(AP_NAMES)].tolist() == [0.5] * 10
    assert {n: f.value for n, f in evaluation.figures.items()} == set_figures([i.score for i in images])
    kinds = evaluation.kinds
    assert kinds["dice"].to_dict() == {"smear": (1 + 2 / 3) / 2, "stained": 0.5}
    assert kinds["ap50"].to_dict() == {"smear": 0.75, "stained": 0.5}
    assert kinds["images"].to_dict() == kinds["groups"].to_dict() == {"smear": 2, "stained": 2}


def test_json_has_the_documented_keys():
    written = as_json(evaluate([scored("a", "stained", "1", 10), scored("b", "smear", "1", 5, "b: unreadable")]))
    assert list(written) == [
        *("version", "images", "groups", "true_nuclei", "predicted_nuclei", "kinds", "problems", "missed"),
        *("figures", "per_image"),
    ]
    assert written["version"] == __version__
    assert (written["images"], written["groups"], written["problems"]) == (2, 1, ["b: unreadable"])
    assert written["kinds"] == {"smear": 1, "stained": 1}
    assert written["missed"] == {"not seen": 5, "fused with another": 0, "split": 0, "outline": 0}
    assert written["figures"]["dice/stained"] == {"value": 1, "low": 1, "high": 1}
    assert written["per_image"]["b"] == {
        "dice": pytest.approx(2 / 3), "iou": 0.5, "bowl": 0.5, "ap": [0.5] * 10,
        "true_nuclei": 10, "predicted_nuclei": 5,
    }  # fmt: skip
    assert json.loads(json.dumps(written)) == written


def test_no_interval_is_printed_for_a_single_group():
    text = as_text(evaluate([scored("a", "stained", "1", 10), scored("b", "smear", "1", 5)]))
    assert "interval" not in text and " - " not in text and "Dice, smear             0.6667\n" in text
    lines = as_text(evaluate([scored("a", "stained", "1", 10), scored("b", "smear", "2", 5)])).splitlines()
    assert [" - " in line for line in lines if line.startswith(("Dice", "Bowl"))] == [True, True, False, False]


def test_table_names_every_figure():
    text = as_text(evaluate([scored("a", "stained", "1", 10), scored("b", "smear", "2", 5)]))
    lines = text.splitlines()
    assert lines[0] == "2 images (1 smear, 1 stained) in 2 groups, 20 nuclei in the truth, 15 predicted"
    assert [line[:22].strip() for line in lines[3:-6]] == [
        *("Dice", "IoU"),
        *(f"AP {t / 100:.2f}" for t in range(50, 95, 5)),
        *("mean AP 0.50-0.90", "Bowl score", "Dice, smear", "Dice, stained"),
    ]
    assert lines[3].split()[1:] == ["0.8333", "0.6667", "-", "1.0000"]
    assert lines[-5:-3] == ["Of the true nuclei, 25.0% are not matched at IoU > 0.5:", "  not seen               25.0%"]


def test_without_nuclei_none_is_missed():
    empty = np.zeros((4, 4), int)
    image = ScoredImage(TrueImage("a", lambda: empty, None, None), score_image(empty, empty), None)
    assert "not matched" not in as_text(evaluate([image]))


def test_a_single_kind_has_no_line_of_its_own():
    assert "Dice," not in as_text(evaluate([scored("a", "stained", "1", 10)]))

import numpy as np

from segmentation.evaluation.folders import ScoredImage, TrueImage
from segmentation.evaluation.report import as_table, summarise
from segmentation.evaluation.scores import THRESHOLDS, score_image, set_figures


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
    evaluation = summarise(images)
    assert (evaluation.images, evaluation.groups) == (4, 3)  # an image "1" is not of the group "1"
    assert (evaluation.true_nuclei, evaluation.predicted_nuclei) == (40, 25)
    assert evaluation.kinds == {"smear": 2, "stained": 2}
    assert evaluation.missed == {"not seen": 15, "fused with another": 0, "split": 0, "outline": 0}
    assert evaluation.problems == ("c: no prediction of that name",)
    assert {n: f.value for n, f in evaluation.figures.items() if "/" not in n} == set_figures([i.score for i in images])
    assert evaluation.figures["dice/stained"].value == 0.5
    assert evaluation.figures["dice/smear"].value == (1 + 2 / 3) / 2
    assert evaluation.per_image["b"]["ap"] == [0.5] * len(THRESHOLDS)


def test_table_names_every_figure():
    text = as_table(summarise([scored("a", "stained", "1", 10), scored("b", "smear", "2", 5)]))
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
    assert "not matched" not in as_table(summarise([image]))


def test_a_single_kind_has_no_line_of_its_own():
    assert "Dice," not in as_table(summarise([scored("a", "stained", "1", 10)]))

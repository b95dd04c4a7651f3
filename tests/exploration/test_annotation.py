"""Flaws are drawn into images of disks; each must be found, and nothing else."""

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from segmentation.data.problems import OVERLAP, Problem
from segmentation.exploration import annotation
from segmentation.exploration.annotation import CHECKS, find_suspects
from segmentation.exploration.measures import enclosed, fullest_window

DISKS = [(row, column, 10) for row in (25, 65, 105) for column in (25, 65, 105)]


@pytest.fixture
def flawed(dotted):
    """The nine disks, and a function's flaw in them: (pixels, labels)."""

    def make(flaw=lambda pixels, labels: None, disks=DISKS):
        pixels, labels = dotted(disks, (140, 140))
        flaw(pixels, labels)
        return pixels, labels

    return make


def tiny(pixels, labels):
    labels[4:8, 4:8], pixels[4:8, 4:8] = 10, 200


def huge(pixels, labels):
    labels[(labels == 5) | (np.hypot(*(np.indices(labels.shape) - 65)) < 29)] = 5
    pixels[labels == 5] = 200


def hole(pixels, labels):
    labels[62:66, 62:66] = 0


def in_pieces(pixels, labels):
    labels[85, 65:68] = labels[65, 65]
    pixels[85, 65:68] = 200


def concave(pixels, labels):
    labels[64:76, 57:74] = 0
    pixels[64:76, 57:74] = 20


def inverted(pixels, labels):
    pixels[labels == 5] = 10


def unlabelled(pixels, labels):
    labels[labels == 5] = 0
    labels[labels > 5] -= 1
    # As bright as nuclei are at best: a median is not above itself.
    pixels[55:76, 55:76][pixels[55:76, 55:76] == 200] = 220


FLAWS = {
    "tiny": tiny, "huge": huge, "hole": hole, "in pieces": in_pieces, "very concave": concave,
    "no contrast": inverted, "unlabelled": unlabelled,
}  # fmt: skip


def test_every_check_has_a_flaw_here():
    assert list(FLAWS) == list(CHECKS)


def test_disks_are_not_suspect(survey_of, flawed):
    measured = survey_of({"good": flawed(), "negative": (255 - flawed()[0], flawed()[1])})
    assert find_suspects(measured).empty
    assert (
        annotation.describe(measured, find_suspects(measured))
        == "None of the 18 nuclei looks wrong by any of the rules."
    )


@pytest.mark.parametrize("negative", [False, True], ids=["bright", "dark"])
@pytest.mark.parametrize("check", CHECKS)
def test_each_flaw_is_found_where_it_is(survey_of, flawed, check, negative):
    pixels, labels = flawed(FLAWS[check])
    measured = survey_of({"flawed": (255 - pixels if negative else pixels, labels)})
    suspects = find_suspects(measured)
    (found,) = suspects[suspects["check"] == check].itertuples()
    top, left, bottom, right = (getattr(found, name) for name in annotation.BOX)
    middle = (6, 6) if check == "tiny" else (65, 65)
    assert top <= middle[0] < bottom and left <= middle[1] < right
    if check == "unlabelled":
        assert found.label == 0
    else:
        own = measured.cached.label_map(0)[top:bottom, left:right] == found.label
        assert own.any() and own[0].any() and own[-1].any() and own[:, 0].any() and own[:, -1].any()
    assert set(suspects["check"]) <= {check, "very concave"}


def test_what_the_edge_cuts_is_not_tiny_nor_straight(survey_of, flawed):
    disks = [*DISKS, (-9, 45, 10), (139, 45, 10), (65, 138, 10)]
    assert find_suspects(survey_of({"cut": flawed(disks=disks)})).empty


def test_the_worst_come_first_and_one_image_does_not_hide_others(survey_of, flawed):
    def two_holes(pixels, labels):
        labels[62:66, 62:66] = labels[22:27, 22:27] = 0

    measured = survey_of({"one": flawed(two_holes), "two": flawed(hole)})
    suspects = find_suspects(measured)
    holes = suspects[suspects["check"] == "hole"]
    assert [*zip(holes["image"], holes["severity"], strict=True)] == [(0, 25), (0, 16), (1, 16)]
    sentence = annotation.describe(measured, suspects)
    assert sentence.startswith("3 of 18 nuclei (16.7 %) look wrong by at least one rule (most often: hole 3)")
    assert sentence.endswith("in 2 images; begin with one, which has 2.")
    titles = [axes.get_title().split("\n")[0] for axes in annotation.draw(measured, holes).axes]
    assert titles[:3] == ["one", "two", "one"] and not any(titles[3:])


def test_suspects_are_drawn(survey_of, flawed, tmp_path):
    measured = survey_of({name.replace(" ", "_"): flawed(flaw) for name, flaw in FLAWS.items()})
    suspects = find_suspects(measured)
    annotation.draw(measured, suspects[:0]).savefig(tmp_path / "none.png")
    figure = annotation.draw(measured, suspects)
    figure.savefig(tmp_path / "suspects.png")
    labels = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert labels == [f"{check}\n({(suspects['check'] == check).sum()})" for check in CHECKS]


def test_a_closeup_outlines_the_suspect(survey_of, flawed):
    measured = survey_of({"flawed": flawed(hole)})
    (suspect,) = find_suspects(measured).query("check == 'hole'").itertuples()
    shown = annotation.closeup(measured, suspect)
    assert shown.shape == (256, 256, 3)
    assert (shown == (213, 94, 0)).all(axis=-1).any() and not (shown == (86, 180, 233)).all(axis=-1).any()


def test_masks_that_overlap_are_counted(survey_of, flawed):
    measured = survey_of({"flawed": flawed(hole)})
    assert "no masks overlap another" in annotation.describe(measured, find_suspects(measured))
    measured.problems.append(Problem("file", "flawed", OVERLAP, False))
    assert "1 mask overlaps another" in annotation.describe(measured, find_suspects(measured))


@pytest.mark.parametrize("seed", range(6))
def test_enclosed_pixels_are_those_that_filling_adds(seed):
    mask = np.random.default_rng(seed).random((15, 12)) < 0.6
    # A diagonal step closes a hole, as eight-connected nuclei have four-connected background.
    assert enclosed(mask) == np.count_nonzero(binary_fill_holes(mask)) - np.count_nonzero(mask)
    assert enclosed(np.ones((3, 3), bool)) == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_fullest_window_is_the_best_of_all(seed):
    mask = np.random.default_rng(seed).random((13, 17)) < 0.1
    rows, columns = fullest_window(mask, 6)
    best = max(mask[top : top + 6, left : left + 6].sum() for top in range(8) for left in range(12))
    assert mask[rows, columns].shape == (6, 6) and mask[rows, columns].sum() == best
    assert fullest_window(mask, 15) == (slice(0, 13), fullest_window(mask, 15)[1])
    assert mask[fullest_window(mask, 40)].shape == mask.shape

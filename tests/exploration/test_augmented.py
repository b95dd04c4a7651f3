import numpy as np
import pytest

from segmentation.exploration import augmented
from segmentation.training.config import TrainingConfig


def test_crops_are_measured_as_training_draws_them(drawn_survey):
    crops, diameters = augmented.measure_crops(drawn_survey, 30)
    assert len(crops) == 30 and crops["brightness"].between(0, 1).all()
    # Only whole nuclei have a diameter.
    assert 0 < len(diameters) < crops["nuclei"].sum()
    again = augmented.measure_crops(drawn_survey, 30)
    assert crops.equals(again[0]) and np.array_equal(diameters, again[1])


def test_figures_of_crops_are_those_of_their_label_maps(drawn_survey, monkeypatch):
    """With crops that are known: the image itself, unchanged."""

    class Unchanged:
        def __init__(self, crop_size):
            pass

        def __call__(self, pixels, labels, rng):
            return pixels, labels

    monkeypatch.setattr(augmented, "Augmentation", Unchanged)
    crops, diameters = augmented.measure_crops(drawn_survey, 60)
    images, nuclei = drawn_survey.images, drawn_survey.nuclei
    train = drawn_survey.rows("train")
    assert set(crops["nuclei"]) == set(images["nuclei"][train])
    whole = nuclei["image"].isin(train) & ~nuclei["touches_edge"]
    assert set(diameters.round(6)) == set(nuclei["diameter"][whole].round(6))


def test_outlines_go_along(drawn_survey, tmp_path):
    figure = augmented.draw(drawn_survey, columns=3)
    figure.savefig(tmp_path / "augmentation.png")
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert len(pictures) == 2 * 4
    crop = TrainingConfig().crop_size
    assert {picture.shape for picture in pictures[1:4]} == {(crop, crop, 3)}
    for picture in pictures:
        assert (picture == augmented._OUTLINE).all(axis=-1).any()


def test_the_sentence(drawn_survey):
    sentence = augmented.describe(drawn_survey, crops=20)
    assert sentence.startswith("In 20 augmented crops whole nuclei measure ")


def test_images_without_nuclei(survey_of, dotted, tmp_path):
    measured = survey_of({"one": dotted([]), "two": dotted([], (64, 64))})
    augmented.draw(measured).savefig(tmp_path / "augmentation.png")
    assert "100 % of the crops hold no nucleus" in augmented.describe(measured, crops=5)


@pytest.mark.parametrize("side", [1, 3])
def test_outlines_are_drawn_on_a_copy(side):
    pixels, labels = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), int)
    labels[3 : 3 + side, 3 : 3 + side] = 1
    drawn = augmented.with_outlines(pixels, labels)
    assert drawn.any(axis=-1).sum() == {1: 1, 3: 8}[side] and not pixels.any()

import numpy as np

from segmentation.exploration import augmented
from segmentation.training.config import TrainingConfig


def test_outlines_go_along(drawn_survey, tmp_path):
    figure = augmented.draw(drawn_survey, columns=3)
    figure.savefig(tmp_path / "augmentation.png")
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert len(pictures) == 2 * 4
    crop = TrainingConfig().crop_size
    assert {picture.shape for picture in pictures[1:4]} == {(crop, crop, 3)}
    for picture in pictures:
        assert (picture == augmented._OUTLINE).all(axis=-1).any()


def test_images_without_nuclei(survey_of, dotted, tmp_path):
    measured = survey_of({"one": dotted([]), "two": dotted([], (64, 64))})
    augmented.draw(measured).savefig(tmp_path / "augmentation.png")
    assert "hold 0 to 0 nuclei (median 0) and 100 % of them none" in augmented.describe(measured, crops=5)


def test_crops_are_drawn_as_training_draws_them(drawn_survey, monkeypatch):
    """With crops that are known: the image itself, unchanged."""

    class Unchanged:
        def __init__(self, crop_size):
            pass

        def __call__(self, pixels, labels, rng):
            return pixels, labels

    assert np.array_equal(augmented.count_nuclei(drawn_survey, 30), augmented.count_nuclei(drawn_survey, 30))
    monkeypatch.setattr(augmented, "Augmentation", Unchanged)
    counts = augmented.count_nuclei(drawn_survey, 60)
    own = drawn_survey.images["nuclei"][drawn_survey.rows("train")]
    assert len(counts) == 60 and set(counts) == set(own)
    sentence = augmented.describe(drawn_survey, crops=60)
    assert sentence.startswith(f"60 augmented crops hold {own.min()} to {own.max()} nuclei (median ")
    assert "and 0 % of them none" in sentence

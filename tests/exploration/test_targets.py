from dataclasses import replace

import numpy as np
import pytest

from segmentation.exploration import targets as learned
from segmentation.exploration.wording import quantity
from segmentation.targets.encodings import ENCODINGS


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_drawn_and_described(drawn_survey, name, tmp_path):
    targets = ENCODINGS[name]
    figure = learned.draw(drawn_survey, targets)
    figure.savefig(tmp_path / "targets.png")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    shown = targets.channels[: learned._CHANNELS]
    assert titles == ["image", *(channel.replace("_", " ") for channel in shown)]
    sentence = learned.describe(drawn_survey, targets)
    assert f"learns {quantity(len(targets.channels), 'channel')} for each" in sentence
    assert sentence.endswith("up to the network.")


def test_what_is_drawn_is_what_is_encoded(drawn_survey):
    targets = ENCODINGS["centre_offsets"]
    figure = learned.draw(drawn_survey, targets)
    foreground = figure.axes[1].get_images()[0].get_array()
    assert set(np.unique(foreground)) == {0, 1}
    # Directions have both signs: zero is in the middle of their scale.
    offsets = figure.axes[2].get_images()[0]
    assert offsets.norm.vmin == -offsets.norm.vmax < 0


def test_an_encoding_that_loses_half_the_nuclei_is_told(survey_of, dotted):
    disks = [(row, column, 8) for row in (25, 65, 105) for column in (40, 90)]
    measured = survey_of({"one": dotted(disks)})

    def lossy(predicted, **thresholds):
        labels = ENCODINGS["centre_offsets"].decode(predicted)
        return np.where(labels % 2 == 1, labels, 0).astype(np.int32)

    sentence = learned.describe(measured, replace(ENCODINGS["centre_offsets"], _decode=lossy))
    assert "3 of 6 nuclei in 1 image come back" in sentence and "mean AP of up to 0.500" in sentence


def test_many_channels_are_cut_short(drawn_survey):
    def encode(labels):
        return np.repeat((labels > 0)[..., None].astype(np.float32), 12, axis=-1)

    names = tuple(f"ray_{number}" for number in range(12))
    many = replace(
        ENCODINGS["centre_offsets"],
        channels=names,
        encode=encode,
        _decode=lambda predicted: predicted[..., 0].astype(np.int32),
    )
    assert len(learned.draw(drawn_survey, many).axes) == 2 * 9 + 8
    assert "ray 5, ray 6 and so on" in learned.describe(drawn_survey, many)

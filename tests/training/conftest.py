"""A tiny configuration, and a model that knows bright nuclei."""

import cv2
import keras
import numpy as np
import pytest

from segmentation.bundle import Bundle, load_bundle, write_bundle
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.config import TrainingConfig
from segmentation.training.export import export_model


@pytest.fixture(scope="session")
def tiny_config():
    """Settings of a training that takes seconds; arguments replace them."""

    def make(**settings):
        defaults = dict(base_filters=4, depth=2, dropout=0.0, epochs=4, batch_size=2, crop_size=32, workers=2, seed=3)
        return TrainingConfig(**(defaults | settings))

    return make


@pytest.fixture
def cells():
    """(160, 160) int32: 36 discs of different sizes, in rows; the upper left corner has none."""
    label_map = np.zeros((160, 160), np.int32)
    for number in range(1, 37):
        row, column = divmod(number - 1, 6)
        if row + column > 1:
            cv2.circle(label_map, (26 * column + 13, 26 * row + 13), 5 + number % 5, number, -1)
    return label_map


@pytest.fixture
def bright_bundle(tmp_path):
    """A model that knows nothing but that nuclei are bright."""
    image = keras.Input((None, None, 3))
    brightness = keras.layers.Conv2D(1, 1, activation="sigmoid", name="foreground")
    others = keras.layers.Conv2D(3, 1, name="others")
    network = keras.Model(image, keras.layers.Concatenate()([brightness(image), others(image)]))
    brightness.set_weights([np.full((1, 1, 3, 1), 4.0), np.array([-5.0])])
    others.set_weights([np.zeros((1, 1, 3, 3)), np.array([0.0, 0.0, 3.0])])
    folder = tmp_path / "model"
    folder.mkdir()
    export_model(network, folder)
    write_bundle(
        Bundle(
            folder=folder,
            targets="centre_offsets",
            channels=ENCODINGS["centre_offsets"].channels,
            normalisation={"lower_percentile": 1.0, "upper_percentile": 99.9},
            diameter=16.0,
            receptive_field_radius=0,
            divisor=1,
            thresholds={"foreground": 0.5},
            min_area=3,
            precisions={"f32": {}},
            training={},
            scores={},
        )
    )
    return load_bundle(folder)

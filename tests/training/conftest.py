"""Small data sets, drawn for the tests, on disk and prepared."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.bundle import Bundle, load_bundle, write_bundle
from segmentation.data.cache import CachedImages, Entry, prepare
from segmentation.data.layouts import find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.config import TrainingConfig
from segmentation.training.export import export_model


def _write(file: Path, pixels: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    written, data = cv2.imencode(file.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    assert written
    file.write_bytes(data.tobytes())
    return file


@pytest.fixture(scope="session")
def write_picture():
    """Write an array, grey or RGB, as the format of its file's suffix; folders are made."""
    return _write


@pytest.fixture(scope="session")
def write_drawn():
    """Draw images beside their label maps; every third is stained. Returns {stem: (pixels, label map)}."""

    def write(folder, count, shape=(96, 96), seed=0):
        drawn = {}
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            pixels, labels = (draw_stained if number % 3 == 2 else draw_fluorescence)(rng, shape)
            stem = f"drawn_{number:02d}"
            drawn[stem] = pixels, labels
            _write(folder / "images" / f"{stem}.png", pixels)
            _write(folder / "masks" / f"{stem}.png", labels)
        return drawn

    return write


@pytest.fixture(scope="session")
def in_memory():
    """Make CachedImages of [(pixels (H, W, C) uint8, label map (H, W), kind)]."""

    def make(images):
        entries, pixels_bytes, label_bytes = [], b"", b""
        for number, (pixels, labels, kind) in enumerate(images):
            labels = labels.astype(np.uint32)
            entries.append(
                Entry(
                    id=f"image_{number:02d}",
                    kind=kind,
                    group=f"group_{number:02d}",
                    shape=labels.shape,
                    image_channels=pixels.shape[-1],
                    labels_dtype="uint32",
                    pixels_start=len(pixels_bytes),
                    labels_start=len(label_bytes),
                )
            )
            pixels_bytes += pixels.tobytes()
            label_bytes += labels.tobytes()
        return CachedImages(entries, np.frombuffer(pixels_bytes, np.uint8), np.frombuffer(label_bytes, np.uint8))

    return make


@pytest.fixture(scope="session")
def drawn_images(tmp_path_factory, write_drawn):
    """Eight drawn images, prepared from disk; two kinds."""
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn(folder / "data", 8)
    return prepare(find_data_set(folder / "data"), Normalisation(), folder / "cache").images


@pytest.fixture(scope="session")
def tiny_config():
    """Settings of a training that takes seconds; arguments replace them."""

    def make(**settings):
        defaults = dict(base_filters=4, depth=2, dropout=0.0, epochs=4, batch_size=2, crop_size=32, workers=2, seed=3)
        return TrainingConfig(**(defaults | settings))

    return make


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

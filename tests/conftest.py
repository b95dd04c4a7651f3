import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.data.cache import CachedImages, Entry, prepare
from segmentation.data.layouts import find_data_set
from segmentation.data.normalisation import Normalisation


@pytest.fixture(scope="session")
def dsb2018() -> Path:
    """The folder with stage1_train.zip and split.csv of the 2018 Data Science Bowl; skips where it is not at hand."""
    folder = os.environ.get("DSB2018_DIR")
    if not folder:
        pytest.skip("DSB2018_DIR names no folder with stage1_train.zip and split.csv")
    return Path(folder)


def pytest_collection_modifyitems(items):
    for item in items:
        if "dsb2018" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)


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

"""Small collections, drawn for the tests."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.exploration.survey import open_survey


def _write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    written, data = cv2.imencode(file.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    assert written
    file.write_bytes(data.tobytes())


@pytest.fixture(scope="session")
def write_images():
    """Write {stem: (pixels, label map)} as images/ beside masks/."""

    def write(folder, images):
        for stem, (pixels, labels) in images.items():
            _write(folder / "images" / f"{stem}.png", pixels)
            _write(folder / "masks" / f"{stem}.png", labels.astype(np.uint16))
        return folder

    return write


@pytest.fixture(scope="session")
def survey_of(write_images, tmp_path_factory):
    """Measure {stem: (pixels, label map)}."""

    def measure(images, split_file=None):
        folder = tmp_path_factory.mktemp("images")
        return open_survey(write_images(folder / "data", images), split_file, cache_folder=folder / "cache")

    return measure


@pytest.fixture(scope="session")
def drawn():
    """Nine images, three of which are stained, of two sizes: {stem: (pixels, label map)}."""
    images = {}
    for number in range(9):
        rng, shape = np.random.default_rng([7, number]), (128, 160) if number % 2 else (96, 96)
        images[f"drawn_{number}"] = (draw_stained if number % 3 == 2 else draw_fluorescence)(rng, shape)
    return images


@pytest.fixture(scope="session")
def drawn_survey(survey_of, drawn):
    return survey_of(drawn)


def disk(shape, row, column, radius):
    """(H, W) bool, True within `radius` of a point."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


@pytest.fixture(scope="session")
def dotted():
    """Make an image of disks (row, column, radius), 200 on 20, and its label map, numbered in their order."""

    def make(disks, shape=(128, 128)):
        labels = np.zeros(shape, np.int32)
        for number, (row, column, radius) in enumerate(disks, 1):
            labels[disk(shape, row, column, radius)] = number
        return np.where(labels > 0, 200, 20).astype(np.uint8), labels

    return make

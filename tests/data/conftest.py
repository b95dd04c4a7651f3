"""Small data sets on disk, drawn for the tests."""

import zipfile

import cv2
import numpy as np
import pytest


def _write(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    written, data = cv2.imencode(file.suffix, pixels)
    assert written
    file.write_bytes(data.tobytes())
    return file


@pytest.fixture
def write_picture():
    """Write an array as the format of its file's suffix; folders are made."""
    return _write


@pytest.fixture
def nuclei():
    """(48, 64) int32 label map: four nuclei, two of which touch, one at the edge; numbered by their files' order."""
    labels = np.zeros((48, 64), np.int32)
    labels[5:15, 5:15] = 1
    labels[5:15, 15:25] = 2
    labels[30:48, 40:60] = 3
    labels[25, 10] = 4
    return labels


@pytest.fixture
def picture():
    """A fluorescence picture of a label map, (H, W) uint8; another seed, other noise."""

    def draw(labels, seed=0):
        noise = np.random.default_rng(seed).integers(0, 20, labels.shape)
        return (10 + noise + 150 * (labels > 0)).astype(np.uint8)

    return draw


@pytest.fixture
def write_bowl(picture):
    """Write {id: label map} in the Bowl's layout, one mask file a nucleus."""

    def write(root, label_maps):
        for seed, (sample_id, labels) in enumerate(label_maps.items()):
            _write(root / sample_id / "images" / f"{sample_id}.png", picture(labels, seed))
            (root / sample_id / "masks").mkdir()
            for number in range(1, labels.max() + 1):
                _write(root / sample_id / "masks" / f"{number:04d}.png", np.uint8(255 * (labels == number)))
        return root

    return write


@pytest.fixture
def write_pairs(picture):
    """Write {stem: label map} as images/ beside masks/."""

    def write(root, label_maps):
        for seed, (stem, labels) in enumerate(label_maps.items()):
            _write(root / "images" / f"{stem}.png", picture(labels, seed))
            _write(root / "masks" / f"{stem}.png", labels.astype(np.uint16))
        return root

    return write


@pytest.fixture
def zip_folder():
    """Zip a folder, with an optional prefix before the members' names."""

    def pack(folder, archive, prefix=""):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            for file in sorted(folder.rglob("*")):
                name = f"{prefix}{file.relative_to(folder).as_posix()}"
                if file.is_dir():
                    target.writestr(f"{name}/", b"")
                else:
                    target.write(file, name)
        return archive

    return pack

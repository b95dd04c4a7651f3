import subprocess
import sys

import cv2
import numpy as np
import pytest

from segmentation.training.augmentation import Augmentation

pytestmark = pytest.mark.slow

# What changes the look of the image and not its geometry.
PHOTOMETRIC = (
    "InvertImg",
    "ToGray",
    "HueSaturationValue",
    "RandomBrightnessContrast",
    "RandomGamma",
    "OneOf",
    "GaussNoise",
)


def without(augmentation, *names):
    """Switch transforms off by the name of their class."""
    known = {type(transform).__name__ for transform in augmentation._compose.transforms}
    assert known >= set(names)
    for transform in augmentation._compose.transforms:
        if type(transform).__name__ in names:
            transform.p = 0
    return augmentation


def only(augmentation, name):
    """Leave one transform, and have it always."""
    for transform in augmentation._compose.transforms:
        transform.p = float(type(transform).__name__ == name)
    return augmentation


def coloured(label_map):
    """An image that shows its label map: the red channel is 4 times the label."""
    return np.stack([4 * label_map, 200 - 2 * label_map, 0 * label_map], axis=-1).astype(np.uint8)


def disk(side, radius=None):
    """A disk in the middle of a square, symmetric to the last pixel."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    label_map = (np.hypot(y, x) < (radius or side / 4)).astype(np.int32)
    return np.repeat(np.uint8(255 * label_map)[..., None], 3, axis=-1), label_map


def centroid(weights):
    weights = weights.astype(float)
    return np.array([(weights.sum(1 - axis) * np.arange(weights.shape[axis])).sum() for axis in (0, 1)]) / weights.sum()


@pytest.fixture
def blocks():
    """(90, 120) int32: nuclei 1..20, rectangles, in rows."""
    label_map = np.zeros((90, 120), np.int32)
    for number in range(20):
        row, column = divmod(number, 5)
        label_map[row * 22 + 2 : row * 22 + 18, column * 24 + 3 : column * 24 + 19] = number + 1
    return label_map


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_image_and_label_map_move_together(blocks, rng):
    augmentation = without(Augmentation(64, empty=0), *PHOTOMETRIC)
    seen = set()
    for _ in range(40):
        image, label_map = augmentation(coloured(blocks), blocks, rng)
        # Where all around a pixel is one label, interpolation has nothing to mix: the colours are the label's. Beyond
        # the edge, elastic deformation reflects, and the pixels all around are not in sight.
        labels, square = label_map.astype(np.float32), np.ones((5, 5))
        inner = cv2.erode(labels, square) == cv2.dilate(labels, square)
        inner[[0, 1, -2, -1]] = inner[:, [0, 1, -2, -1]] = False
        assert inner.mean() > 0.2
        np.testing.assert_allclose(image[inner, 0], 4 * label_map[inner], atol=1)
        np.testing.assert_allclose(image[inner, 1], 200 - 2 * label_map[inner], atol=1)
        seen |= set(np.unique(label_map))
    assert seen == set(range(21))  # windows from everywhere


def test_looks_change_and_nuclei_stay_where_they_are(blocks, rng):
    binary = (blocks > 0).astype(np.int32)
    image = np.repeat(np.uint8(60 + 120 * binary)[..., None], 3, axis=-1)
    augmentation = Augmentation(64, empty=0)
    correlations, brightness = [], []
    for _ in range(60):
        changed, label_map = augmentation(image, blocks, rng)
        grey, foreground = changed.mean(-1), label_map > 0
        brightness.append(grey[foreground].mean())
        correlations.append(np.corrcoef(grey.ravel(), foreground.ravel())[0, 1])
    assert np.median(np.abs(correlations)) > 0.9 and np.min(np.abs(correlations)) > 0.7
    assert np.min(correlations) < -0.7  # some are inverted
    assert np.ptp(brightness) > 60


def test_shapes_and_types(blocks, rng):
    image, label_map = Augmentation(48)(coloured(blocks), blocks, rng)
    assert image.shape == (48, 48, 3) and image.dtype == np.uint8
    assert label_map.shape == (48, 48) and label_map.dtype == np.int32


def test_no_label_is_made_up(rng):
    numbers = np.array([0, 7, 300, 70_000, 16_000_001])
    label_map = numbers[rng.integers(5, size=(12, 12))].astype(np.int32).repeat(10, 0).repeat(10, 1)
    image = np.zeros((120, 120, 3), np.uint8)
    augmentation = Augmentation(64)
    for _ in range(30):
        assert set(np.unique(augmentation(image, label_map, rng)[1])) <= set(numbers.tolist())


@pytest.mark.parametrize(("settings", "expected"), [({"empty": 0.0}, 0), ({"empty": 0.3}, 0.3), ({}, 0.02)])
def test_some_crops_are_empty_fields(rng, settings, expected):
    """Of an image that is one nucleus all over."""
    augmentation = only(Augmentation(8, **settings), None)
    image, label_map = np.full((16, 16, 3), 77, np.uint8), np.ones((16, 16), np.int32)
    empty = 0
    for _ in range(1000):
        crop, labels = augmentation(image, label_map, rng)
        assert crop.shape == (8, 8, 3) and crop.dtype == np.uint8
        assert labels.shape == (8, 8) and labels.dtype == np.int32
        assert labels.all() or not labels.any()
        # Either the image with its nucleus, or neither.
        if labels.any():
            assert (crop == 77).all()
        else:
            empty += 1
    # Within four standard deviations of the binomial law.
    assert abs(empty - 1000 * expected) <= 4 * np.sqrt(1000 * expected * (1 - expected))


def test_same_generator_same_crops(blocks):
    image = coloured(blocks)
    first, second = Augmentation(64), Augmentation(64)
    second(image, blocks, np.random.default_rng(99))  # what came before must not matter
    for seed in range(8):
        one, other = (augmentation(image, blocks, np.random.default_rng(seed)) for augmentation in (first, second))
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    a, b = (first(image, blocks, np.random.default_rng(seed))[0] for seed in (1, 2))
    assert (a != b).any()


@pytest.mark.parametrize("shape", [(20, 30), (64, 20), (1, 40), (7, 200)])
def test_images_smaller_than_the_crop_fill_it(shape, rng):
    label_map = np.ones(shape, np.int32)
    for _ in range(10):
        drawn, labels = Augmentation(64, empty=0, stains=1)(np.full((*shape, 3), 90, np.uint8), label_map, rng)
        assert drawn.shape == (64, 64, 3) and (labels == 1).all()
    image, label_map = without(Augmentation(64, empty=0), *PHOTOMETRIC)(
        np.full((*shape, 3), 90, np.uint8), label_map, rng
    )
    assert image.shape == (64, 64, 3)
    # Magnified, not padded.
    assert (label_map == 1).all() and (image == 90).all()


def test_zoom_keeps_its_limits_and_uses_them(rng):
    augmentation = only(Augmentation(64, zoom=(0.5, 2.0), empty=0), None)
    # The gradient of a ramp, in crop pixels, tells the magnification.
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
    image, label_map = np.repeat(ramp[..., None], 3, axis=-1), ramp.astype(np.int32)
    zooms = []
    for _ in range(300):
        crop = augmentation(image, label_map, rng)[0][..., 0].astype(float)
        zooms.append(1 / ((crop[32, -8] - crop[32, 8]) / 48))
    assert 0.47 < min(zooms) < 0.56 and 1.8 < max(zooms) < 2.2
    # Even in the logarithm: as many are magnified as are made smaller.
    assert 0.4 < np.mean(np.array(zooms) < 1) < 0.6


def test_images_never_shrink_below_the_crop(rng):
    augmentation = only(Augmentation(64, zoom=(0.5, 0.5), empty=0), None)
    label_map = np.arange(80 * 200).reshape(80, 200).astype(np.int32)
    _, crop = augmentation(np.zeros((80, 200, 3), np.uint8), label_map, rng)
    rows = np.unique(crop // 200)
    # A window of 80 x 80, not of 128 x 128 and not distorted.
    assert rows[-1] - rows[0] in (78, 79)
    columns = np.unique(crop % 200)
    assert columns[-1] - columns[0] in (78, 79)


@pytest.mark.parametrize("zoom", [0.6, 0.7, 0.83, 1.0, 1.1, 1.5, 2.0, 3.7])
def test_scaling_keeps_a_centred_disk_centred(zoom, rng):
    side = round(64 / zoom)
    image, label_map = only(Augmentation(64, zoom=(zoom, zoom), empty=0), None)(*disk(side), rng)
    middle = np.array([31.5, 31.5])
    np.testing.assert_allclose(centroid(image[..., 0]), middle, atol=0.1)
    np.testing.assert_allclose(centroid(label_map), middle, atol=0.1)


@pytest.mark.parametrize("name", ["D4", "ElasticTransform", "OneOf", "RandomGamma", "HueSaturationValue", "GaussNoise"])
def test_no_transform_moves_the_image_off_its_label_map(name, rng):
    image, label_map = disk(96)
    augmentation = only(Augmentation(96, zoom=(1, 1), empty=0), name)
    apart = []
    for _ in range(30):
        changed, moved = augmentation(image, label_map, rng)
        # Noise far away from the disk has a long lever.
        near = cv2.dilate(moved.astype(np.float32), np.ones((9, 9))) > 0
        apart.append(centroid(np.where(near, changed[..., 0], 0)) - centroid(moved))
    assert np.abs(np.mean(apart, axis=0)).max() < 0.15
    assert np.abs(apart).max() < 0.5


def test_crops_in_other_stains_have_nuclei_of_many_sizes_where_the_label_map_has_them(rng):
    label_map = np.zeros((256, 256), np.int32)
    for number in range(64):
        row, column = divmod(number, 8)
        cv2.circle(label_map, (32 * column + 16, 32 * row + 16), 10, number + 1, -1)
    image = np.repeat(np.uint8(20 + 200 * (label_map > 0))[..., None], 3, axis=-1)
    augmentation = only(Augmentation(128, empty=0, stains=1), None)
    sizes, darker = [], []
    for _ in range(80):
        crop, labels = augmentation(image, label_map, rng)
        sizes.append(2 * np.sqrt(np.bincount(labels.ravel())[1:].max() / np.pi))
        darker.append(crop[labels == 0].mean() - crop[labels > 0].mean())
    assert min(sizes) < 18 and max(sizes) > 40
    assert 0.7 < np.mean(np.array(darker) > 0) < 0.97  # the others are fluorescence, brighter inside


def test_stains_are_as_frequent_as_asked():
    label_map = np.zeros((64, 64), np.int32)
    label_map[20:40, 20:40] = 1
    image = np.repeat(np.uint8(200 * (label_map > 0))[..., None], 3, axis=-1)
    augmentation = only(Augmentation(64, zoom=(1, 1), empty=0, stains=0.3), None)
    unchanged = [(augmentation(image, label_map, np.random.default_rng(seed))[0] == image).all() for seed in range(200)]
    assert abs(200 * 0.7 - sum(unchanged)) <= 4 * np.sqrt(200 * 0.7 * 0.3)


def test_a_grey_image_has_the_same_noise_in_all_channels(rng):
    image, label_map = disk(96)
    noisy, _ = only(Augmentation(96, zoom=(1, 1), empty=0), "GaussNoise")(image, label_map, rng)
    assert (noisy != noisy[..., :1]).sum() == 0
    assert (noisy != image).mean() > 0.3


_WITHOUT_SOCKETS = """
import os, socket, sys
class Refused(BaseException):
    pass
class NoSocket(socket.socket):
    def __init__(self, *args, **kwargs):
        raise Refused("a socket was opened")
def refuse(*args, **kwargs):
    raise Refused("an address was looked up")
socket.socket, socket.getaddrinfo = NoSocket, refuse
{then}
"""


@pytest.mark.parametrize(
    ("then", "opens"),
    [
        ("import segmentation.training.augmentation; sys.exit(0 if 'albumentations' in sys.modules else 9)", False),
        # Shows that the first would be noticed.
        ("os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None); import albumentations", True),
    ],
)
def test_import_needs_no_network(then, opens):
    """albumentations asks the package index for news when it is imported, unless told not to."""
    command = [sys.executable, "-c", _WITHOUT_SOCKETS.format(then=then)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode != 0) == opens, ran.stderr
    assert ("Refused" in ran.stderr) == opens

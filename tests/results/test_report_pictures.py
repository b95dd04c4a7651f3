import base64
import re

import cv2
import numpy as np
import pytest

from segmentation.results.report import pictures
from segmentation.results.report.pictures import COLOURS, draw_outlines, draw_picture
from tests.results.pages import drawn

pytestmark = pytest.mark.slow


def rings_of(path):
    """The corners of each ring of a path, found again by adding up its steps."""
    rings = []
    for x, y, steps in re.findall(r"M(\d+) (\d+)l([^z]*)z", path):
        numbers = [int(number) for number in re.findall(r"-?\d+", steps)]
        ways = np.array(numbers).reshape(-1, 2)
        rings.append(np.concatenate([[[0, 0]], np.cumsum(ways, axis=0)]) + [int(x), int(y)])
    return rings


def filled(outlines, scale=8):
    """Paint the paths as a browser does: (H, W) bool, a pixel is in if its centre is."""
    shape = round(outlines["height"]) * scale, round(outlines["width"]) * scale
    painted = np.zeros(shape, np.uint8)
    for path in outlines["paths"]:
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [ring.astype(np.int32) * scale for ring in rings_of(path)], 1)
        painted |= mask
    return painted[scale // 2 :: scale, scale // 2 :: scale] > 0


def test_the_small_copy_is_the_image():
    prediction = drawn(0, side=700)
    picture = draw_picture(prediction.image.pixels, prediction.labels)
    assert (picture["width"], picture["height"]) == (700, 700)
    small = cv2.imdecode(np.frombuffer(base64.b64decode(picture["image"]), np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == (pictures.PICTURE_SIDE, pictures.PICTURE_SIDE, 3)
    expected = cv2.resize(prediction.image.pixels, small.shape[:2], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small[..., 0].ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 900, 1), (40, 30, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_of_any_size_and_type(shape, dtype):
    picture = draw_picture(np.full(shape, 7, dtype), np.ones(shape[:2], np.int32))
    assert picture["image"]
    assert len(picture["outlines"]["paths"]) > 0


def test_colours_are_those_of_the_image():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = 255, 0, 0  # red
    picture = draw_picture(pixels, np.zeros((64, 64), np.int32))
    blue, green, red = cv2.imdecode(np.frombuffer(base64.b64decode(picture["image"]), np.uint8), 1)[32, 8]
    assert red > 200 > 60 > max(blue, green)


@pytest.mark.parametrize("number", range(3))
def test_filled_outlines_are_the_mask(number):
    labels = drawn(number).labels
    painted, mask = filled(draw_outlines(labels)), labels > 0
    assert (painted & mask).sum() / (painted | mask).sum() > 0.95


def test_holes_stay_open():
    labels = np.zeros((40, 40), np.int32)
    labels[5:35, 5:35] = 3
    labels[15:25, 15:25] = 0
    assert not filled(draw_outlines(labels))[20, 20]
    assert filled(draw_outlines(labels))[10, 10]


def test_touching_nuclei_have_outlines_and_colours_of_their_own():
    labels = np.zeros((30, 60), np.int32)
    labels[5:25, 5:30], labels[5:25, 30:55] = 4, 9
    paths = [path for path in draw_outlines(labels)["paths"] if path]
    assert len(paths) == 2
    assert [len(rings_of(path)) for path in paths] == [1, 1]


def test_no_nuclei():
    assert draw_outlines(np.zeros((20, 30), np.int32)) == {"width": 30, "height": 20, "paths": []}


def test_a_crowd_is_drawn_coarser_but_not_longer():
    labels = np.zeros((2000, 2000), np.int32)
    corners = np.arange(0, 2000, 20)
    for number, (row, column) in enumerate(np.stack(np.meshgrid(corners, corners), -1).reshape(-1, 2), 1):
        labels[row : row + 12, column : column + 12] = number
    outlines = draw_outlines(labels)
    assert 0 < sum(map(len, outlines["paths"])) <= 12_000
    assert outlines["width"] == outlines["height"] < 2000


def test_doubtful_nuclei_have_a_colour_of_their_own():
    labels = np.zeros((60, 90), np.int32)
    labels[10:20, 10:20], labels[10:20, 40:50], labels[40:50, 60:80] = 1, 2, 5
    paths = draw_outlines(labels, doubtful=[2, 5])["paths"]
    assert len(paths) == COLOURS + 1 and paths[COLOURS].count("M") == 2
    assert sum(path.count("M") for path in paths) == 3
    assert draw_outlines(labels, doubtful=[])["paths"] == draw_outlines(labels)["paths"]

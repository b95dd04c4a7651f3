import numpy as np
import pytest
from PIL import Image as PillowImage

from data.draw_samples import draw_fluorescence
from segmentation.results.overlays import draw_overlay, neighbour_colours, outlines, stretch_contrast, write_overlay


def brute_force_outlines(labels, width):
    """Pixels of nuclei with another label within `width` steps along rows and columns."""
    height, breadth = labels.shape
    lines = np.zeros(labels.shape, bool)
    for y, x in zip(*np.nonzero(labels), strict=True):
        for v in range(max(0, y - width), min(height, y + width + 1)):
            for u in range(max(0, x - width), min(breadth, x + width + 1)):
                near = abs(v - y) + abs(u - x) <= width
                lines[y, x] |= near and labels[v, u] != labels[y, x]
    return lines


@pytest.mark.parametrize("width", [1, 2])
def test_outlines_equal_brute_force(width):
    _, labels = draw_fluorescence(np.random.default_rng(4), (60, 75))
    assert np.array_equal(outlines(labels, width), brute_force_outlines(labels.astype(int), width))


def test_the_edge_of_the_image_is_no_outline():
    assert not outlines(np.ones((5, 5), int)).any()


@pytest.mark.parametrize("seed", range(4))
def test_touching_nuclei_have_different_colours(seed):
    _, labels = draw_fluorescence(np.random.default_rng(seed), (200, 200))
    colours = neighbour_colours(labels, 8)
    coloured = colours[labels]
    for a, b, one, other in (
        (labels[1:], labels[:-1], coloured[1:], coloured[:-1]),
        (labels[:, 1:], labels[:, :-1], coloured[:, 1:], coloured[:, :-1]),
    ):
        assert not ((a > 0) & (b > 0) & (a != b) & (one == other)).any()
    assert colours.min() >= 0 and colours.max() < 8


def test_nuclei_with_a_gap_between_them_have_different_colours():
    labels = np.zeros((9, 90), int)
    for i in range(9):
        labels[2:7, 10 * i + 2 : 10 * i + 8] = (i * 4) % 9 + 1
    row = neighbour_colours(labels, 8)[labels[4, 5::10]]
    assert (row[1:] != row[:-1]).all()


def test_overlay_draws_on_the_outline_only():
    image, labels = draw_fluorescence(np.random.default_rng(0), (90, 120))
    overlay, plain, lines = draw_overlay(image[..., None], labels), stretch_contrast(image[..., None]), outlines(labels)
    assert overlay.dtype == np.uint8 and overlay.shape == (90, 120, 3)
    assert np.array_equal(overlay[~lines], plain[~lines])
    saturation = np.ptp(overlay[lines].astype(int), axis=1)
    assert saturation.min() > 100
    for label in range(1, labels.max() + 1):
        assert len(np.unique(overlay[lines & (labels == label)], axis=0)) == 1


def test_lines_are_two_pixels_wide_on_large_images():
    labels = np.zeros((40, 1100), np.int32)
    labels[10:30, 500:520] = 1
    drawn = draw_overlay(np.zeros((40, 1100, 1), np.uint8), labels).any(-1)
    assert np.array_equal(drawn, outlines(labels, 2)) and drawn.sum() == 20**2 - 16**2


def test_without_nuclei_the_image_stays():
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8, 1) * 1000
    assert np.array_equal(draw_overlay(pixels, np.zeros((6, 8), int)), stretch_contrast(pixels))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_contrast_does_not_depend_on_the_depth(dtype):
    ramp = np.linspace(0, 1, 10_000).reshape(100, 100, 1)
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    picture = stretch_contrast((ramp * 0.2 * scale).astype(dtype))
    assert picture.shape == (100, 100, 3)
    assert picture.min() == 0 and picture.max() == 255
    assert abs(picture[50, 0].astype(int) - 127).max() <= 4


def test_stretching_keeps_hues_and_survives_constant_images():
    colour = np.zeros((20, 20, 3), np.uint8)
    colour[..., 0], colour[:10, :, 1] = 200, 100
    picture = stretch_contrast(colour)
    assert picture[0, 0].tolist() == [255, 127, 0] and picture[15, 0].tolist() == [255, 0, 0]
    assert not stretch_contrast(np.full((4, 4, 1), 9, np.uint8)).any()


def test_written_overlay_is_read_back(tmp_path):
    image, labels = draw_fluorescence(np.random.default_rng(0), (30, 40))
    write_overlay(tmp_path / "a.png", image[..., None], labels)
    assert np.array_equal(np.asarray(PillowImage.open(tmp_path / "a.png")), draw_overlay(image[..., None], labels))

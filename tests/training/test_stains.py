import cv2
import numpy as np
import pytest
from skimage.color import hed_from_rgb, rgb2hsv, rgb_from_hed, separate_stains

from segmentation.training import stains
from segmentation.training.stains import change_stain


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def fluorescence_of(label_map):
    return np.uint8(np.where(label_map > 0, 150 + label_map, 12))[..., None].repeat(3, axis=-1)


def bright_field_of(label_map):
    return np.uint8(np.where(label_map > 0, 40, 200))[..., None] - np.array([0, 30, 10], np.uint8)


def is_darker_inside(image, label_map):
    return image[label_map > 0].mean() < image[label_map == 0].mean()


def test_fluorescence_becomes_stained_mostly(cells, rng):
    drawn = [change_stain(fluorescence_of(cells), cells, rng) for _ in range(60)]
    assert {(image.shape, image.dtype) for image, _ in drawn} == {((160, 160, 3), np.dtype(np.uint8))}
    assert {(labels.shape, labels.dtype) for _, labels in drawn} == {((160, 160), np.dtype(np.int32))}
    dark = [is_darker_inside(image, labels) for image, labels in drawn]
    assert 0.7 < np.mean(dark) < 0.97
    hues = [rgb2hsv(image[labels > 0].mean(0)[None] / 255)[0, 0] for image, labels in drawn]
    assert np.histogram(hues, 6, (0, 1))[0].astype(bool).sum() >= 4  # dyes of all colours


def test_colour_tells_nothing_in_some_crops_which_are_grey(cells, rng):
    drawn = np.stack([stains.draw_dyes(cells > 0, np.ones(cells.shape), cells, rng) for _ in range(100)])
    grey = (drawn == drawn[..., :1]).all(axis=(1, 2, 3))
    assert 0.08 < grey.mean() < 0.35
    assert drawn[..., 0].std() > 0


def test_bright_field_keeps_its_label_map_and_sometimes_becomes_fluorescence(cells, rng):
    drawn = [change_stain(bright_field_of(cells), cells, rng) for _ in range(60)]
    assert all((labels == cells).all() for _, labels in drawn)
    assert 0.6 < np.mean([is_darker_inside(image, cells) for image, _ in drawn]) < 0.9


def test_the_generator_decides(cells):
    image = fluorescence_of(cells)
    one, same, other = (change_stain(image, cells, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("value", [0, 20, 230, 255])
@pytest.mark.parametrize("label", [0, 5])
def test_crops_of_one_colour_with_no_nucleus_or_nothing_else(value, label, rng):
    image, label_map = np.full((48, 48, 3), value, np.uint8), np.full((48, 48), label, np.int32)
    with np.errstate(all="raise", under="ignore"):
        for _ in range(20):
            drawn, labels = change_stain(image, label_map, rng)
            assert drawn.shape == image.shape and drawn.dtype == np.uint8
            assert (labels == label_map).all()


def test_the_given_arrays_are_left_alone(cells, rng):
    for image in (fluorescence_of(cells), bright_field_of(cells)):
        before, labels_before = image.copy(), cells.copy()
        for _ in range(20):
            change_stain(image, cells, rng)
        np.testing.assert_array_equal(image, before)
        np.testing.assert_array_equal(cells, labels_before)


def test_dark_field_is_told_by_the_nuclei_and_without_them_by_most_pixels(cells):
    nothing = np.zeros_like(cells)
    assert stains.is_dark_field(fluorescence_of(cells), cells) and stains.is_dark_field(fluorescence_of(cells), nothing)
    assert not stains.is_dark_field(bright_field_of(cells), cells)
    assert not stains.is_dark_field(bright_field_of(cells), nothing)
    crowded = fluorescence_of(cells) // 4 + 150  # bright all over: only the nuclei tell
    assert stains.is_dark_field(crowded, cells)


def test_light_falls_off_as_scikit_image_has_it(rng):
    densities, dyes = rng.random((3, 20, 20)), rgb_from_hed
    seen = stains.absorb(list(zip(densities, dyes, strict=True)))
    # It counts densities in units of the logarithm of a millionth.
    found = np.moveaxis(separate_stains(seen, hed_from_rgb), -1, 0) * -np.log(1e-6)
    np.testing.assert_allclose(found, densities, atol=1e-5)


def test_density_of_a_bright_field_crop_is_split_at_its_background(cells):
    image = bright_field_of(cells)
    nuclei, tissue = stains.split_density(image, cells)
    density = -np.log((image.mean(-1) + 1) / 256)
    outside, inside = density[cells == 0].mean(), density[cells > 0].mean()
    np.testing.assert_allclose(nuclei[cells == 0], 0, atol=1e-6)
    np.testing.assert_allclose(nuclei[cells > 0], 1, atol=1e-5)  # the densest are 1
    np.testing.assert_allclose(tissue[cells == 0], outside / (outside + 0.02), rtol=1e-4)
    np.testing.assert_allclose(tissue[cells > 0], 1, rtol=1e-4)
    assert inside > outside


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_nuclei_are_added_where_they_overlap_none(cells, times):
    image = fluorescence_of(cells)
    crowded, labels = stains.add_nuclei(image, cells, times)
    expected_image, expected = image.copy(), cells.copy()
    for flip in (np.s_[::-1, ::-1], np.s_[::-1], np.s_[:, ::-1])[:times]:
        added = expected.copy()
        for label in range(1, cells.max() + 1):  # one by one
            mask = (cells == label)[flip]
            if mask.any() and not expected[mask].any():
                added[mask] = label + expected.max()
                expected_image[mask] = image[flip][mask]
        expected = added
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(crowded, expected_image)
    assert labels.dtype == np.int32
    assert len(np.unique(labels)) > len(np.unique(cells)) or times == 0


def test_brightness_varies_up_to_tenfold_and_the_background_stays(cells, rng):
    image = fluorescence_of(cells)
    far = cv2.dilate(np.uint8(cells > 0), np.ones((9, 9))) == 0
    centres = cv2.erode(np.float32(cells), np.ones((7, 7))) * (cv2.erode(np.uint8(cells > 0), np.ones((7, 7))) > 0)
    for _ in range(10):
        varied = stains.vary_brightness(image, cells, rng)
        np.testing.assert_array_equal(varied[far], image[far])
        gains = (varied[centres > 0, 0] - 12.0) / (image[centres > 0, 0] - 12.0)
        assert gains.min() > 0.09 and gains.max() > 0.97
        assert gains.min() < 0.4

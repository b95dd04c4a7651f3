import numpy as np
import pytest

from segmentation.training.augmentation import draw_empty_field


@pytest.fixture(scope="module")
def fields():
    rng = np.random.default_rng(3)
    return [draw_empty_field(rng, 64) for _ in range(300)]


def test_shapes_and_types(fields):
    assert {field.shape for field in fields} == {(64, 64, 3)} and {field.dtype for field in fields} == {
        np.dtype(np.uint8)
    }


def test_the_generator_decides():
    one, same, other = (draw_empty_field(np.random.default_rng(seed), 32) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_one_intensity_or_the_full_range(fields):
    """As normalisation leaves a field of nothing else: flat, or stretched to the last percent."""
    flat = [field for field in fields if (field == field[0, 0]).all()]
    assert 0.12 < len(flat) / len(fields) < 0.28
    assert len({tuple(field[0, 0]) for field in flat}) > 10
    for field in fields:
        if not (field == field[0, 0]).all():
            assert field.min() == 0 and field.max() == 255


def test_the_channels_of_one_single_colour_are_stretched_like_those_of_any_picture(fields):
    colours = [field[0, 0] for field in fields if (field == field[0, 0]).all() and len(set(field[0, 0])) > 1]
    assert len(colours) > 5
    assert all(colour.min() == 0 and colour.max() == 255 for colour in colours)


def test_grey_and_coloured(fields):
    grey = np.mean(
        [(field[..., 0] == field[..., 1]).all() and (field[..., 0] == field[..., 2]).all() for field in fields]
    )
    assert 0.65 < grey < 0.92


def test_grain_from_single_pixels_to_smooth(fields):
    """The correlation of neighbours, from that of white noise upwards."""
    correlations = []
    for field in fields:
        pixels = field[..., 0].astype(float)
        if pixels.std() > 0:
            correlations.append(np.corrcoef(pixels[:, 1:].ravel(), pixels[:, :-1].ravel())[0, 1])
    assert min(correlations) < 0.2 and max(correlations) > 0.9


@pytest.mark.parametrize("size", [4, 37, 256])
def test_any_size(size):
    rng = np.random.default_rng(0)
    assert {draw_empty_field(rng, size).shape for _ in range(20)} == {(size, size, 3)}

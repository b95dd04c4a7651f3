import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest

from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.data.normalisation import Normalisation

STRETCH = Normalisation()


@pytest.fixture(scope="module")
def grey():
    return draw_fluorescence(np.random.default_rng(0), (96, 130))[0][..., None]


@pytest.fixture(scope="module")
def stained():
    return draw_stained(np.random.default_rng(0), (96, 130))[0]


def normalised(pixels, normalisation=STRETCH):
    return normalisation.apply(pixels, normalisation.limits(pixels))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("percentiles", [(1.0, 99.9), (0.0, 100.0), (0.35, 63.2), (25.0, 75.0)])
def test_limits_are_numpys_percentiles_without_interpolation(dtype, percentiles):
    rng = np.random.default_rng(1)
    for size in (2, 3, 99, 100, 101, 1000, 4321):
        for highest in (9, 255):
            pixels = rng.integers(0, highest, (size, 1, 1), endpoint=True).astype(dtype)
            low, high = np.percentile(pixels, percentiles, method="inverted_cdf")
            if low == high:
                low, high = pixels.min(), pixels.max()
            assert Normalisation(*percentiles).limits(pixels) == (low, high)


def test_limits_are_intensities_of_the_image_counted_by_hand():
    pixels = np.arange(1000, dtype=np.uint16)[::-1].reshape(25, 40, 1)
    assert Normalisation(1, 99).limits(pixels) == (9, 989)  # the 10th and the 990th of 1000
    assert Normalisation(0, 100).limits(pixels) == (0, 999)


def test_channels_share_the_widest_limits():
    pixels = np.stack([np.full((5, 5), 40), np.arange(25).reshape(5, 5), np.full((5, 5), 90)], axis=-1).astype(np.uint8)
    assert Normalisation(0, 100).limits(pixels) == (0, 90)
    assert Normalisation(0, 100).limits(pixels[..., [1, 0]]) == (0, 40)


@pytest.mark.parametrize("name", ["grey", "stained"])
def test_8_bit_16_bit_and_float_copies_reach_the_network_alike(name, request):
    pixels = request.getfixturevalue(name)
    expected = normalised(pixels)
    copies = [
        pixels.astype(np.uint16) * 257,
        pixels.astype(np.uint16) + 30_000,
        pixels.astype(np.float32),
        pixels.astype(np.float32) / 255 - 0.5,
    ]
    for copy in copies:
        np.testing.assert_allclose(normalised(copy), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["grey", "stained"])
def test_output_is_three_channels_of_float32_in_0_1(name, request):
    pixels = request.getfixturevalue(name)
    output = normalised(pixels)
    assert output.shape == (*pixels.shape[:2], 3) and output.dtype == np.float32
    assert output.min() == 0 and output.max() == 1


def test_grey_is_repeated(grey):
    output = normalised(grey)
    assert np.array_equal(output[..., 0], output[..., 1]) and np.array_equal(output[..., 0], output[..., 2])
    assert len(np.unique(output)) > 50


def test_values_between_and_beyond_the_limits():
    pixels = np.array([[[0], [100], [125], [150], [200], [255]]], np.uint8)
    assert STRETCH.apply(pixels, (100.0, 200.0))[0, :, 0] == pytest.approx([0, 0, 0.25, 0.5, 1, 1])


def test_hue_is_kept(stained):
    low, high = STRETCH.limits(stained)
    inside = ((stained >= low) & (stained <= high)).all(axis=-1)
    assert inside.mean() > 0.9
    before, after = stained[inside].astype(float), normalised(stained)[inside].astype(float)

    def hue(rgb):  # angle around the grey axis, which shift and scale of all channels together leave alone
        red, green, blue = rgb.T
        return np.exp(1j * np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))

    coloured = np.ptp(before, axis=1) > 5
    assert coloured.mean() > 0.9
    np.testing.assert_allclose(hue(after[coloured]), hue(before[coloured]), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_an_image_of_one_intensity_gives_zeros(dtype, channels, value):
    output = normalised(np.full((6, 7, channels), value, dtype))
    assert output.shape == (6, 7, 3) and not output.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_image_of_one_colour_gives_zeros_and_one_with_a_speck_does_not(dtype):
    pixels = np.full((60, 70, 3), (120, 60, 160), dtype)
    assert STRETCH.limits(pixels) == (60, 60) and not normalised(pixels).any()
    assert STRETCH.limits_of_blocks(_blocks(pixels)) == (60, 60)
    pixels[30, 30] = 200, 200, 200
    assert STRETCH.limits(pixels) == STRETCH.limits_of_blocks(_blocks(pixels)) == (60, 160)
    assert normalised(pixels).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiny_nucleus_on_a_background_of_zeros_is_seen(dtype):
    pixels = np.zeros((100, 100, 1), dtype)
    pixels[50, 50:55] = 200  # half a thousandth of the image: both percentiles are 0
    assert np.array_equal(normalised(pixels)[..., 0], pixels[..., 0] / 200)


def test_hot_pixels_do_not_darken_the_image(grey):
    hot = grey.astype(np.uint16)
    hot[10, 10] = 65535
    before, after = normalised(grey), normalised(hot)
    difference = np.abs(after - before)
    difference[10, 10] = 0
    assert difference.max() < 0.02


@pytest.fixture(scope="module")
def crowded():
    """A field of nuclei with the noise of a camera, 16 bits."""
    rng = np.random.default_rng(3)
    field = draw_fluorescence(rng, (200, 260))[0].astype(float) * 16
    return (field + rng.normal(300, 40, field.shape)).clip(0).astype(np.uint16)[..., None]


def with_speck(pixels, radius, brightness):
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    inside = np.hypot(rows - radius - 3, columns - radius - 3) < radius
    speckled = pixels.copy()
    speckled[inside] = brightness
    return speckled, inside


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("radius", [5, 8, 12])  # 0.15 to 0.9 % of the field
@pytest.mark.parametrize("brightness", [20_000, 65_535])
def test_a_speck_that_outshines_all_nuclei_does_not_darken_them(crowded, dtype, channels, radius, brightness):
    pixels = np.repeat(crowded, channels, axis=-1).astype(dtype)
    speckled, inside = with_speck(pixels, radius, brightness)
    assert np.percentile(speckled, 99.9) == brightness
    before, after = normalised(pixels), normalised(speckled)
    assert np.abs(after - before)[~inside].max() < 0.1
    assert (after[inside] == 1).all()


def test_a_scale_bar_does_not_darken_the_nuclei(crowded):
    marked = crowded.copy()
    marked[-12:-6, -80:-10] = 65_535
    assert np.abs(normalised(marked) - normalised(crowded))[:-12].max() < 0.1


def _hot(shape):
    return np.random.default_rng(5).random(shape) < 0.005


def _row(shape):
    return (np.arange(shape[0]) == 77)[:, None] & np.ones(shape, bool)


def _fibre(shape):
    return cv2.line(np.zeros(shape, np.uint8), (0, 10), (shape[1], 150), 1, 2) > 0


def _burst(shape):
    spots, rng = np.zeros(shape, np.uint8), np.random.default_rng(6)
    for _ in range(40):
        cv2.circle(spots, (int(rng.integers(shape[1])), int(rng.integers(shape[0]))), int(rng.integers(1, 3)), 1, -1)
    return spots > 0


def _text(shape):
    return cv2.putText(np.zeros(shape, np.uint8), "20 um", (150, 190), cv2.FONT_HERSHEY_PLAIN, 1, 1) > 0


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("thin", [_hot, _row, _fibre, _burst, _text])
def test_thin_specks_do_not_darken_the_nuclei(crowded, dtype, thin):
    inside = thin(crowded.shape[:2])
    assert 0.001 < inside.mean() < 0.02
    pixels = crowded.astype(dtype)
    speckled = pixels.copy()
    speckled[inside] = 60_000
    low, high = STRETCH.limits(pixels)
    assert STRETCH.limits(speckled) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert STRETCH.limits_of_blocks(_blocks(speckled, 64, 96)) == STRETCH.limits(speckled)


def test_a_few_bright_nuclei_on_a_dark_noisy_field_are_no_specks():
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:256, :256]
    for count in (1, 2, 4):
        field = rng.normal(100, 5, (256, 256))
        for row, column in rng.integers(20, 236, (count, 2)):
            field += 2000 / (1 + np.exp((np.hypot(rows - row, columns - column) - 8) / 1.5))
        pixels = field.astype(np.uint16)[..., None]
        assert STRETCH.limits(pixels) == tuple(np.percentile(pixels, (1, 99.9), method="inverted_cdf"))


def test_a_few_bright_nuclei_in_a_smooth_field_are_no_specks():
    """As after JPEG or out of focus: their halos are smooth, and there is no noise to measure them by."""
    rows, columns = np.mgrid[:256, :256]
    field = np.full((256, 256), 3.0)
    for row, column in (40, 50), (60, 180), (120, 110), (200, 60):
        field += 240 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 5.5**2))
        field += 12 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 25**2))
    pixels = field.clip(0, 255).astype(np.uint8)[..., None]
    plain = tuple(np.percentile(pixels, (1, 99.9), method="inverted_cdf"))
    assert np.mean(pixels > plain[0] + (plain[1] - plain[0]) / 4) < 0.02
    assert STRETCH.limits(pixels) == plain


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_share_of_glass_does_not_change_the_limits(dtype):
    """Most of a slide may be glass; the tissue is seen as if it were cut out."""
    rng = np.random.default_rng(8)
    tissue = rng.normal((190, 150, 180), 8, (128, 160, 3))
    rows, columns = np.mgrid[:128, :160]
    for row, column in rng.integers(10, 118, (12, 2)):
        tissue[np.hypot(rows - row, columns - column) < 6] = (70, 40, 110)
    slide = np.full((640, 960, 3), 243.0)
    slide[256:384, 320:480] = tissue
    cut_out, slide = (part.clip(0, 255).astype(dtype) for part in (slide[224:416, 288:512], slide))
    low, high = STRETCH.limits(slide)
    assert (low, high) == pytest.approx(STRETCH.limits(cut_out), abs=3)
    assert low < 50 < np.percentile(slide, 1)
    assert STRETCH.limits_of_blocks(_blocks(slide, 64, 96)) == (low, high)


def test_the_limits_with_a_speck_are_those_of_the_squares_without_it(crowded):
    speckled, _ = with_speck(crowded, 10, 60_000)  # within the first square of 32 pixels
    rest = np.concatenate([crowded[:32, 32:].ravel(), crowded[32:].ravel()])
    assert STRETCH.limits(speckled) == tuple(np.percentile(rest, (1, 99.9), method="inverted_cdf"))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_limits_of_blocks_leave_out_the_same_specks(crowded, dtype, channels):
    speckled = with_speck(np.repeat(crowded, channels, axis=-1).astype(dtype), 10, 60_000)[0]
    assert STRETCH.limits_of_blocks(_blocks(speckled, 64, 96)) == STRETCH.limits(speckled) != STRETCH.limits(crowded)
    assert STRETCH.limits(speckled)[1] < 10_000


@pytest.mark.parametrize("name", ["grey", "stained"])
def test_a_tile_is_normalised_as_a_part_of_its_image(name, request):
    pixels = request.getfixturevalue(name)
    limits = STRETCH.limits(pixels)
    whole, tile = normalised(pixels), np.s_[16:48, 40:101]
    assert np.array_equal(STRETCH.apply(pixels[tile], limits), whole[tile])
    assert not np.allclose(normalised(pixels[tile]), whole[tile])  # its own limits are others


@pytest.mark.parametrize(
    "lower, upper", [(-1, 99), (1, 100.5), (50, 50), (60, 40), (float("nan"), 99), (1, float("nan"))]
)
def test_impossible_percentiles_are_refused_by_value(lower, upper):
    with pytest.raises(ValueError, match=f"0 <= lower < upper <= 100.*lower {lower} and upper {upper}"):
        Normalisation(lower, upper)


def test_settings_survive_json():
    settings = Normalisation(0.5, 99.0)
    assert Normalisation(**json.loads(json.dumps(asdict(settings)))) == settings


def test_the_input_is_left_alone(stained):
    before = stained.copy()
    normalised(stained)
    assert np.array_equal(stained, before)


def _blocks(pixels, height=37, width=51):
    def blocks():
        for row in range(0, pixels.shape[0], height):
            for column in range(0, pixels.shape[1], width):
                yield pixels[row : row + height, column : column + width]

    return blocks


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("seed", range(8))
def test_limits_of_blocks_are_those_of_the_whole(dtype, seed):
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(1, 200, 2), rng.choice([1, 3]))
    pixels = rng.normal(size=shape) * rng.choice([0.1, 10, 3000]) + rng.choice([0, 100, -5])
    if dtype != np.float32:
        pixels = pixels.clip(0, np.iinfo(dtype).max)
    pixels = pixels.astype(dtype)
    for percentiles in ((1, 99.9), (0, 100), (50, 50.1)):
        normalisation = Normalisation(*percentiles)
        assert normalisation.limits_of_blocks(_blocks(pixels)) == normalisation.limits(pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_limits_of_blocks_of_one_intensity_and_of_a_few_others(dtype):
    pixels = np.full((100, 120, 1), 7, dtype)
    assert Normalisation().limits_of_blocks(_blocks(pixels)) == (7, 7)
    pixels[50, 60] = 9
    pixels[20, 30] = 3
    assert Normalisation().limits_of_blocks(_blocks(pixels)) == Normalisation().limits(pixels) == (3, 9)
    negative_zero = np.zeros((50, 60, 1), np.float32)
    negative_zero[::2] = -0.0
    assert Normalisation().limits_of_blocks(_blocks(negative_zero)) == (0, 0)

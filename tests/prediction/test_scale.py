from fractions import Fraction

import numpy as np
import pytest

from segmentation.prediction.scale import LARGEST_SCALE, SMALLEST_SCALE, TOLERANCE, DiameterSearch, Rescaling, scale_for
from segmentation.targets.encodings import ENCODINGS
from tests.targets.label_maps import draw_disks, overlaps

pytestmark = pytest.mark.slow

TARGET = ENCODINGS["centre_offsets"]
SEARCH = DiameterSearch(TARGET, 0.5, known=20.0)


@pytest.mark.parametrize("diameter", np.geomspace(5, 310, 60))
def test_nuclei_come_out_as_large_as_the_network_knows_them(diameter):
    scale = scale_for(diameter, 20)
    assert scale.denominator <= 16
    assert 0.94 < diameter * scale / 20 < 1.06


def test_the_known_diameter_needs_no_rescaling():
    assert scale_for(19.67, 19.67) == 1
    assert scale_for(20, 20.2) == 1


def test_scales_end_somewhere():
    assert scale_for(1e-3, 20) == LARGEST_SCALE
    assert scale_for(1e6, 20) == SMALLEST_SCALE


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(5, 16), Fraction(7, 5), Fraction(4), Fraction(1, 16)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (31, 64), (100, 77)])
def test_every_shape_comes_back(scale, shape):
    rescaling = Rescaling(scale, TARGET)
    image = np.random.default_rng(0).random((*shape, 3), np.float32)
    seen = rescaling.image(image)
    assert seen.dtype == np.float32 and seen.shape[2] == 3
    # Exactly to scale, up to what the picture was padded by.
    for length, native in zip(seen.shape, shape, strict=False):
        assert 0 <= length / scale - native < scale.denominator
    channels = rescaling.channels(np.zeros((*seen.shape[:2], 4), np.float32), shape)
    assert channels.shape == (*shape, 4) and channels.dtype == np.float32


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(3, 5), Fraction(3, 2), Fraction(3)])
def test_intensities_keep_their_place_and_their_mean(scale):
    rows, columns = np.indices((90, 120))
    ramp = np.stack([rows / 90, columns / 120, np.full((90, 120), 0.25)], axis=-1).astype(np.float32)
    seen = Rescaling(scale, TARGET).image(ramp)
    expected_rows = ((np.arange(seen.shape[0]) + 0.5) / float(scale) - 0.5) / 90
    np.testing.assert_allclose(seen[3:-3, 5, 0], expected_rows[3:-3], atol=0.1 / 90)
    np.testing.assert_allclose(seen[..., 2], 0.25, atol=1e-6)
    np.testing.assert_allclose(seen.mean(axis=(0, 1)), ramp.mean(axis=(0, 1)), atol=1e-3)


@pytest.mark.parametrize(
    "scale", [Fraction(1, 3), Fraction(2, 5), Fraction(5, 7), Fraction(7, 5), Fraction(2), Fraction(3)]
)
def test_a_part_of_a_picture_on_the_grid_is_resized_as_within_the_whole(scale):
    """What blocks of a large picture rely on."""
    rescaling = Rescaling(scale, TARGET)
    image = np.random.default_rng(0).random((120, 160, 3), np.float32)
    whole = rescaling.image(image)
    step = 8 * scale.denominator
    first, last = 1 * step, (120 // step) * step
    part = rescaling.image(image[first:last])
    there = whole[int(first * scale) : int(last * scale)]
    inner = slice(4, -4)
    np.testing.assert_allclose(part[inner], there[inner], atol=1e-5)


@pytest.mark.parametrize(
    "scale", [Fraction(1, 3), Fraction(1, 2), Fraction(5, 7), Fraction(7, 5), Fraction(2), Fraction(3)]
)
def test_label_maps_of_a_rescaled_picture_come_back(scale):
    """A network that knows the truth at its own scale gives the nuclei of the picture, touching ones apart."""
    disks = [(40, 40, 24), (40, 89, 24), (90, 64, 22), (120, 130, 30), (30, 150, 15), (140, 30, 18)]
    truth = draw_disks((180, 200), *disks)
    rescaling = Rescaling(scale, TARGET)
    seen = rescaling.image(np.zeros((*truth.shape, 3), np.float32)).shape[:2]
    there = draw_disks(seen, *[((r + 0.5) * scale - 0.5, (c + 0.5) * scale - 0.5, d * scale) for r, c, d in disks])
    decoded = TARGET.decode(rescaling.channels(TARGET.encode(there), truth.shape))
    assert decoded.shape == truth.shape
    assert decoded.max() == len(disks)
    assert overlaps(truth, decoded).max(axis=1).min() > 0.9


def channels(diameter):
    return TARGET.encode(draw_disks((240, 240), (120, 120, diameter / 2)))


@pytest.mark.parametrize("scale", [Fraction(1, 4), Fraction(1), Fraction(2)])
def test_what_the_network_saw_as_it_knows_it_stays(scale):
    for seen in (20 / TOLERANCE * 1.1, 20, 20 * TOLERANCE / (1.1 * max(scale, 1))):
        diameter, following = SEARCH.next_scale(channels(seen / float(scale)), scale)
        assert following == scale
        assert diameter == pytest.approx(seen / float(scale), rel=0.06)


@pytest.mark.parametrize("diameter", [6, 60, 100, 200])
def test_what_is_far_off_is_brought_to_what_the_network_knows(diameter):
    found, scale = SEARCH.next_scale(channels(diameter), Fraction(1))
    assert found == pytest.approx(diameter, rel=0.08)
    assert float(scale) == pytest.approx(20 / diameter, rel=0.1)


@pytest.mark.parametrize("scale", [Fraction(1, 10), Fraction(1, 2), Fraction(1), Fraction(2)])
def test_what_the_network_would_know_as_it_is_is_left_as_it_is(scale):
    for diameter in (14, 20, 30):
        assert SEARCH.next_scale(channels(diameter), scale)[1] == 1


@pytest.mark.parametrize("scale", [Fraction(1, 10), Fraction(1), Fraction(2)])
def test_where_nothing_is_found_the_picture_is_looked_at_as_it_is(scale):
    assert SEARCH.next_scale(np.zeros((20, 20, 4), np.float32), scale) == (None, 1)


def test_specks_do_not_count_for_much():
    label_map = draw_disks((240, 240), (120, 120, 60), *[(5, 5 + 12 * i, 2) for i in range(19)])
    diameter, scale = SEARCH.next_scale(TARGET.encode(label_map), Fraction(1))
    assert diameter == pytest.approx(120, rel=0.02)
    assert float(scale) == pytest.approx(1 / 6, rel=0.1)


def test_the_threshold_of_the_foreground_counts():
    faint = channels(100)
    faint[..., 0] *= 0.4
    assert SEARCH.next_scale(faint, Fraction(1))[0] is None
    assert DiameterSearch(TARGET, 0.3, 20.0).next_scale(faint, Fraction(1))[0] == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize(
    ("pixel_size_um", "scale"), [(None, 1), (0.5, 1), (0.65, 1), (0.3, 1), (0.25, 0.5), (0.1, 0.2), (2.0, 4)]
)
def test_a_search_begins_where_common_nuclei_would_be_known(pixel_size_um, scale):
    assert float(SEARCH.first_scale(pixel_size_um)) == pytest.approx(scale, rel=0.05)

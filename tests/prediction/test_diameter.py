from fractions import Fraction

import numpy as np
import pytest

from segmentation.prediction.diameter import TOLERANCE, DiameterSearch
from segmentation.targets.encodings import ENCODINGS
from tests.targets.label_maps import draw_disks

TARGET = ENCODINGS["centre_offsets"]
SEARCH = DiameterSearch(TARGET, 0.5, known=20.0)


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

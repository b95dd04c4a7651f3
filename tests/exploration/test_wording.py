import doctest

import pytest

from segmentation.exploration import wording
from segmentation.exploration.wording import percent


def test_the_examples_hold():
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (0, "0 %"),
        (0.0004, "0.0 %"),
        (0.199, "19.9 %"),
        (0.1996, "20 %"),
        (0.9949, "99 %"),
        (0.99999, "99.9 %"),
        (1, "100 %"),
    ],
)
def test_what_is_not_all_does_not_look_like_it(share, written):
    assert percent(share) == written

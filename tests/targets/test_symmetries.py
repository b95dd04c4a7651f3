import numpy as np
import pytest

from segmentation.targets.encodings import ENCODINGS
from segmentation.targets.symmetries import SYMMETRIES
from tests.targets.label_maps import LABEL_MAPS, draw_disks, overlaps

pytestmark = pytest.mark.slow

every_encoding = pytest.mark.parametrize("targets", ENCODINGS.values(), ids=ENCODINGS)
every_symmetry = pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)


def turned_label_map(label_map, symmetry):
    return symmetry(label_map[..., None])[..., 0]


def disks_of_several_sizes():
    """Their centroids lie on pixels, so that each has one pixel that is nearest."""
    return draw_disks((50, 70), (12, 15, 9), (12, 30, 6), (35, 20, 12), (30, 52, 15), (47, 66, 0))


def test_there_are_eight_and_the_first_is_the_identity():
    picture = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    results = {(symmetry(picture).shape, symmetry(picture).tobytes()) for symmetry in SYMMETRIES}
    assert len(results) == len(SYMMETRIES) == 8
    np.testing.assert_array_equal(SYMMETRIES[0](picture), picture)


def test_they_are_numpys_rotations_and_mirror_images():
    picture = np.random.default_rng(0).random((4, 7, 2))
    expected = [np.rot90(copy, turns) for copy in (picture, picture[::-1]) for turns in range(4)]
    found = [symmetry(picture) for symmetry in SYMMETRIES]
    for array in expected:
        assert sum(array.shape == other.shape and np.array_equal(array, other) for other in found) == 1


@every_symmetry
def test_the_inverse_undoes(symmetry):
    picture = np.random.default_rng(0).random((3, 4, 7, 2))
    np.testing.assert_array_equal(symmetry.inverse(symmetry(picture)), picture)
    np.testing.assert_array_equal(symmetry(symmetry.inverse(picture)), picture)


@every_encoding
@every_symmetry
def test_turning_the_channels_is_encoding_the_turned_label_map(targets, symmetry):
    label_map = disks_of_several_sizes()
    turned = targets.turn(targets.encode(label_map), symmetry)
    np.testing.assert_allclose(turned, targets.encode(turned_label_map(label_map, symmetry)), rtol=0, atol=1e-6)


@every_encoding
@every_symmetry
def test_turned_back_the_channels_are_the_same(targets, symmetry):
    channels = np.random.default_rng(0).random((2, 9, 5, len(targets.channels)), np.float32)
    kept = channels.copy()
    np.testing.assert_array_equal(targets.turn(targets.turn(channels, symmetry), symmetry.inverse), kept)
    np.testing.assert_array_equal(channels, kept)


@every_encoding
@every_symmetry
@pytest.mark.parametrize("name", ["fluorescence_0", "stained_1", "cut_by_the_edge"])
def test_turned_channels_decode_to_the_turned_label_map(targets, symmetry, name):
    label_map = LABEL_MAPS[name]()
    upright = targets.decode(targets.encode(label_map))
    decoded = targets.decode(targets.turn(targets.encode(label_map), symmetry))
    # Each nucleus has one counterpart, but for a pixel here and there for which two nuclei are equally near.
    assert decoded.max() == upright.max()
    assert overlaps(turned_label_map(upright, symmetry), decoded).max(axis=1).min() > 0.9

import numpy as np
import pytest
from scipy import ndimage

from segmentation.prediction.engines import SymmetricEngine
from segmentation.targets.centre_offsets import OFFSET_SCALE
from segmentation.targets.encodings import ENCODINGS

TARGET = ENCODINGS["centre_offsets"]


class Engine:
    name, precision, version, streams, batch_pixels = "fake", "f32", "1", 1, 8 * 256 * 256

    def __init__(self, function):
        self.shapes = []
        self._function = function

    def __call__(self, tiles):
        assert tiles.dtype == np.float32 and tiles.flags.c_contiguous
        self.shapes.append(tiles.shape)
        return np.stack([self._function(tile.mean(axis=-1)) for tile in tiles]).astype(np.float32)


def uphill(grey):
    """Equivariant: brightness, the way to the brighter side, and how bright the neighbourhood is."""
    smooth = ndimage.gaussian_filter(grey, 2)
    return np.stack([grey, *np.gradient(smooth), ndimage.uniform_filter(grey, 5)], axis=-1)


def always_down(grey):
    """As far from equivariant as can be."""
    return np.stack([grey, np.ones_like(grey), np.zeros_like(grey), grey], axis=-1)


@pytest.fixture
def tiles():
    return np.random.default_rng(0).random((3, 16, 24, 3), np.float32)


def test_an_equivariant_network_gives_what_it_gives_without(tiles):
    engine = Engine(uphill)
    np.testing.assert_allclose(SymmetricEngine(engine, TARGET)(tiles), Engine(uphill)(tiles), atol=1e-6)
    assert sorted(engine.shapes) == [(3, 16, 24, 3)] * 4 + [(3, 24, 16, 3)] * 4


def test_what_depends_on_the_orientation_averages_out(tiles):
    channels = SymmetricEngine(Engine(always_down), TARGET)(tiles)
    np.testing.assert_allclose(channels[..., 0], tiles.mean(axis=-1), atol=1e-6)
    np.testing.assert_allclose(channels[..., 1:3], 0, atol=1e-6)


def test_the_result_turns_with_the_picture(tiles):
    """Whatever the network: here one that looks only to the left, and only a little."""
    engine = SymmetricEngine(Engine(lambda grey: uphill(np.maximum(grey, np.roll(grey, 1, axis=1)))), TARGET)
    upright, turned = engine(tiles), engine(np.rot90(tiles, axes=(1, 2)).copy())
    back = np.rot90(turned, -1, axes=(1, 2))
    np.testing.assert_allclose(back[..., [0, 3]], upright[..., [0, 3]], atol=1e-6)
    # rot90 brings columns to rows from the last on: what points down in the turned picture points left in the upright.
    np.testing.assert_allclose(-back[..., 1], upright[..., 2], atol=1e-6)
    np.testing.assert_allclose(back[..., 2], upright[..., 1], atol=1e-6)


def test_votes_still_meet_in_the_centre():
    """Offsets in their own units: a blurred disk whose gradient points inwards."""
    rows, columns = np.indices((32, 32)) - 16
    disk = (rows**2 + columns**2 <= 64).astype(np.float32)

    def pointing(grey):
        r, c = np.nonzero(grey > 0.5)
        centre = (r.mean(), c.mean())
        rows, columns = np.indices(grey.shape)
        to_centre = ((centre[0] - rows) / OFFSET_SCALE, (centre[1] - columns) / OFFSET_SCALE)
        return np.stack([grey, *to_centre, grey * 3], axis=-1)

    channels = SymmetricEngine(Engine(pointing), TARGET)(np.repeat(disk[None, ..., None], 3, axis=-1))[0]
    label_map = TARGET.decode(channels)
    assert label_map.max() == 1
    np.testing.assert_array_equal(label_map > 0, disk > 0)


def test_it_says_what_the_engine_says():
    engine = SymmetricEngine(Engine(uphill), TARGET)
    assert (engine.name, engine.precision, engine.version) == ("fake", "f32", "1")

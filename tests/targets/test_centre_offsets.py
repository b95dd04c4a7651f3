import numpy as np
import pytest

from segmentation.targets import centre_offsets
from segmentation.targets.centre_offsets import OFFSET_SCALE, decode, encode
from tests.targets.label_maps import LABEL_MAPS, draw_disks, overlaps


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_each_pixel_points_at_one_pixel_of_its_own_nucleus(name):
    label_map = LABEL_MAPS[name]()
    encoded = encode(label_map)
    assert encoded.shape == (*label_map.shape, 4) and encoded.dtype == np.float32
    assert np.array_equal(encoded[..., 0], label_map > 0)
    assert not encoded[label_map == 0].any()
    rows, columns = np.nonzero(label_map)
    offsets = encoded[rows, columns, 1:3] * OFFSET_SCALE
    targets = np.rint(offsets).astype(int) + np.column_stack([rows, columns])
    assert np.array_equal(label_map[targets[:, 0], targets[:, 1]], label_map[rows, columns])
    assert len(np.unique(targets, axis=0)) == len(np.unique(label_map[label_map > 0]))


def test_channels_of_a_disk_in_their_units():
    encoded = encode(draw_disks((41, 61), (20, 30, 16)))
    assert centre_offsets.channels == ("foreground", "row_offset", "column_offset", "log_radius")
    np.testing.assert_allclose(encoded[20, 30, :3], [1, 0, 0])
    np.testing.assert_allclose(encoded[4, 30, :3], [1, 16 / OFFSET_SCALE, 0])  # above the centre: down to it
    np.testing.assert_allclose(encoded[20, 46, :3], [1, 0, -16 / OFFSET_SCALE])
    assert encoded[20, 30, 3] == pytest.approx(np.log2(16), abs=0.02)


def test_foreground_is_above_the_threshold_alone():
    encoded = encode(draw_disks((20, 20), (10, 10, 6)))
    encoded[..., 0] *= 0.5
    assert not decode(encoded).any()  # 0.5 is not greater than 0.5
    assert np.array_equal(decode(encoded, foreground=0.49) > 0, encoded[..., 0] > 0)


@pytest.mark.parametrize("seed", range(5))
def test_noisy_offsets_still_give_each_nucleus(seed):
    rng = np.random.default_rng(seed)
    grid = [(20 + 40 * i, 20 + 40 * j) for i in range(4) for j in range(5)]
    label_map = draw_disks((160, 200), *[(row, column, rng.uniform(5, 16)) for row, column in grid])
    predicted = encode(label_map)
    radius = np.exp2(predicted[..., 3:])
    predicted[..., 1:3] += 0.15 * radius * rng.normal(size=predicted[..., 1:3].shape) / OFFSET_SCALE
    predicted[..., 3] += 0.1 * rng.normal(size=label_map.shape)
    decoded = decode(predicted.astype(np.float32))
    assert decoded.max() == 20
    assert np.array_equal(decoded > 0, label_map > 0)
    assert (overlaps(label_map, decoded).max(axis=1) == 1).all()


def test_noise_may_point_out_of_the_picture():
    predicted = encode(draw_disks((30, 30), (0, 0, 8), (29, 29, 8)))
    predicted[0, 0, 1:3] = -1e4
    predicted[29, 29, 1:3] = 1e4
    decoded = decode(predicted)
    assert decoded.max() == 2 and np.array_equal(decoded > 0, predicted[..., 0] > 0.5)


def test_offsets_outside_the_foreground_do_not_matter():
    label_map = LABEL_MAPS["crescent"]()
    label_map[2:8, 2:8] = 2
    predicted = encode(label_map)
    predicted[label_map == 1, 1:3] *= 0.8  # many pixels fall short of the rim, into the hollow
    rows, columns = np.indices(label_map.shape)
    landed = np.rint(np.stack([rows, columns], axis=-1) + predicted[..., 1:3] * OFFSET_SCALE)[label_map == 1].astype(
        int
    )
    assert np.mean(label_map[landed[:, 0], landed[:, 1]] == 0) > 0.1
    misled = predicted.copy()
    misled[..., 1:3][label_map == 0] = (np.stack([5 - rows, 5 - columns], axis=-1) / OFFSET_SCALE)[label_map == 0]
    assert np.array_equal(decode(misled), decode(predicted))


def test_a_long_nucleus_whose_pixels_fall_short_of_the_centre_is_one():
    # Jump after jump they come nearer; after the first, the votes lie along a third of the nucleus in several heaps.
    label_map = np.zeros((30, 120), np.int32)
    label_map[13:17, 10:110] = 1
    predicted = encode(label_map)
    predicted[..., 1:3] *= 0.7
    assert np.array_equal(decode(predicted), label_map)


def test_what_is_too_close_comes_out_as_one_as_the_module_says():
    threads = np.zeros((30, 64), np.int32)
    threads[10:13, 5:55] = np.array([[1], [2], [3]])
    assert decode(encode(threads)).max() == 1
    for distance, count in ((3, 1), (4, 2)):
        dotted = draw_disks((64, 64), (30, 30, 12))
        dotted[30, 30 + distance] = 2
        assert decode(encode(dotted)).max() == count


@pytest.mark.parametrize("log_radius", [-200.0, 200.0])
def test_absurd_radii_leave_the_foreground_labelled(log_radius):
    label_map = draw_disks((40, 40), (10, 10, 6), (30, 30, 6))
    predicted = encode(label_map)
    predicted[..., 3] = log_radius
    assert np.array_equal(decode(predicted) > 0, label_map > 0)

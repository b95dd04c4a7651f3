import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from segmentation.network.losses import FOREGROUND_LOSSES, bce_dice, dice
from segmentation.network.target_losses import (
    INSTANCE_LOSSES,
    centre_offsets_loss,
    distance_loss,
    flows_loss,
    near_touching,
    target_loss,
    touching_border_loss,
)
from segmentation.targets import centre_offsets
from segmentation.targets.encodings import ENCODINGS
from tests.targets.label_maps import draw_disks

SCALE = centre_offsets.OFFSET_SCALE

every_encoding = pytest.mark.parametrize("name", ENCODINGS)
# The border between nuclei that nearly touch lies in the background.
every_encoding_of_the_foreground = pytest.mark.parametrize("name", sorted(set(ENCODINGS) - {"touching_border"}))


def encoded(name):
    """Truth of two images: two nuclei of different size, and none."""
    label_map = draw_disks((24, 40), (10, 10, 8), (14, 30, 4))
    return np.stack([ENCODINGS[name].encode(label_map), ENCODINGS[name].encode(0 * label_map)])


def constant_truth(foreground, radius, shape=(4, 5)):
    truth = np.zeros((1, *shape, 4), np.float32)
    truth[0, ..., 0].flat[:foreground] = 1
    truth[0, ..., 3].flat[:foreground] = np.log2(radius)
    return truth


def test_every_encoding_has_its_loss():
    assert set(INSTANCE_LOSSES) == set(ENCODINGS)


@every_encoding
def test_nothing_is_lost_at_the_truth(name):
    truth = encoded(name)
    np.testing.assert_allclose(INSTANCE_LOSSES[name](truth, truth), 0, atol=1e-6)


@every_encoding_of_the_foreground
def test_the_background_does_not_count(name):
    truth = encoded(name)
    predicted = truth + np.random.default_rng(0).normal(0, 1, truth.shape).astype(np.float32)
    elsewhere = predicted.copy()
    elsewhere[truth[..., 0] == 0, 1:] = 1e3
    loss = INSTANCE_LOSSES[name]
    assert np.array_equal(loss(truth, predicted), loss(truth, elsewhere))
    assert float(loss(truth, predicted)[0]) > 0.01 and float(loss(truth, predicted)[1]) == 0


@every_encoding_of_the_foreground
@pytest.mark.parametrize("noise", [0.0, 1.0, 1e4])
def test_gradients_are_finite_and_none_in_the_background(name, noise):
    truth = encoded(name)
    predicted = tf.constant(truth + noise * np.random.default_rng(0).normal(size=truth.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        value = tf.reduce_sum(INSTANCE_LOSSES[name](truth, predicted))
    gradient = tape.gradient(value, predicted).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[truth[..., 0] == 0].any()
    assert gradient.any() == (noise > 0)


@every_encoding
def test_the_channels_add_up_image_by_image(name):
    truth = encoded(name)
    rng = np.random.default_rng(0)
    predicted = truth + rng.normal(0, 1, truth.shape).astype(np.float32)
    predicted[..., 0] = rng.random(truth.shape[:-1])
    for foreground_loss in FOREGROUND_LOSSES.values():
        loss = target_loss(name, foreground_loss)
        values = loss(truth, predicted)
        assert values.shape == (2,) and values.dtype == "float32"
        parts = foreground_loss(truth[..., 0], predicted[..., 0]) + INSTANCE_LOSSES[name](truth, predicted)
        np.testing.assert_allclose(values, parts, rtol=1e-6)
        alone = [float(loss(truth[i : i + 1], predicted[i : i + 1])[0]) for i in range(2)]
        np.testing.assert_allclose(values, alone, rtol=1e-5)


@every_encoding
def test_half_precision_is_summed_in_float32(name):
    truth = encoded(name)
    predicted = tf.cast(truth + 0.3, "bfloat16")
    loss = target_loss(name, dice)
    values = loss(tf.cast(truth, "bfloat16"), predicted)
    assert values.dtype == "float32"
    rounded = tf.cast(tf.cast(truth, "bfloat16"), "float32"), tf.cast(predicted, "float32")
    np.testing.assert_allclose(values, loss(*rounded), rtol=1e-6)


@every_encoding
def test_keras_compiles_it(name):
    truth = encoded(name)
    model = keras.Sequential([keras.layers.Input(truth.shape[1:]), keras.layers.Identity()])
    loss = target_loss(name, dice)
    model.compile(loss=loss, jit_compile=False)
    predicted = 0.5 * truth
    assert model.evaluate(predicted, truth, batch_size=2, verbose=0) == pytest.approx(
        np.mean(loss(truth, predicted)), rel=1e-5
    )


def test_an_unknown_encoding_is_refused_when_the_loss_is_made():
    with pytest.raises(KeyError, match="no_such_encoding"):
        target_loss("no_such_encoding", dice)


@pytest.mark.parametrize("pixels_off, radius", [(1, 8), (2, 8), (4, 8), (16, 8), (3, 30), (0.2, 0.56)])
@pytest.mark.parametrize("direction", [(1, 0), (0, -1), (0.6, 0.8)])
def test_one_pixel_that_points_beside_the_centre(pixels_off, radius, direction):
    truth = constant_truth(foreground=7, radius=radius)
    predicted = truth.copy()
    predicted[0, 0, 3, 1:3] += np.multiply(direction, pixels_off / SCALE)
    miss = pixels_off / radius
    huber = 2 * miss**2 if miss <= 0.25 else miss - 0.125  # quadratic up to 1/4, then of slope 1
    assert float(centre_offsets_loss(truth, predicted)[0]) == pytest.approx(huber / 7, rel=1e-4)


@pytest.mark.parametrize("factor, expected", [(2.0, 0.875), (0.5, 0.875), (2**0.25, 0.125), (2**0.125, 2 / 64)])
def test_one_pixel_that_takes_its_nucleus_for_larger_or_smaller(factor, expected):
    truth = constant_truth(foreground=5, radius=10)
    predicted = truth.copy()
    predicted[0, 0, 0, 3] += np.log2(factor)
    assert float(centre_offsets_loss(truth, predicted)[0]) == pytest.approx(0.25 * expected / 5, rel=1e-4)


def test_a_small_nucleus_counts_as_much_as_a_large_one():
    values = []
    for radius in (3, 30):
        truth = constant_truth(foreground=6, radius=radius)
        predicted = truth.copy()
        predicted[..., 1] += 0.4 * radius / SCALE * truth[..., 0]
        values.append(float(centre_offsets_loss(truth, predicted)[0]))
    assert values == pytest.approx([0.275, 0.275], rel=1e-4)


def touching_pair():
    """Two disks that touch, one far away from them, and a square that a pixel parts from a third: (64, 96)."""
    label_map = draw_disks((64, 96), (14, 14, 9), (14, 30, 8), (45, 20, 10), (50, 80, 9))
    label_map[40:60, 32:40] = 5
    return label_map


def test_near_touching_is_what_the_label_map_says():
    label_map = touching_pair()
    truth = np.stack([centre_offsets.encode(label_map), centre_offsets.encode(0 * label_map)])
    border = np.zeros(label_map.shape, bool)
    for row, column in np.argwhere(label_map):
        for below, right in ((row + 1, column), (row, column + 1)):
            if below < 64 and right < 96 and label_map[below, right] not in (0, label_map[row, column]):
                border[row, column] = True
    assert border.any()
    near = np.array(near_touching(truth))
    np.testing.assert_array_equal(near[0], ndimage.maximum_filter(border, 21))
    assert not near[1].any()
    assert not near[0][label_map == 4].any() and not near[0][label_map == 3].any()


def test_pixels_near_a_border_of_touching_nuclei_count_five_times():
    label_map = touching_pair()
    truth = centre_offsets.encode(label_map)[None]
    near = np.array(near_touching(truth))[0] * (label_map > 0)
    losses = []
    for row, column in ((14, 22), (50, 80)):
        predicted = truth.copy()
        predicted[0, row, column, 3] += 1
        losses.append(float(centre_offsets_loss(truth, predicted)[0]))
    total = np.sum(label_map > 0) + 4 * near.sum()
    np.testing.assert_allclose(losses, [5 * 0.25 * 0.875 / total, 0.25 * 0.875 / total], rtol=1e-4)


def test_the_border_is_learnt_as_a_foreground_is():
    truth = encoded("touching_border")
    rng = np.random.default_rng(0)
    predicted = rng.random(truth.shape).astype(np.float32)
    np.testing.assert_allclose(touching_border_loss(truth, predicted), bce_dice(truth[..., 1], predicted[..., 1]))
    elsewhere = predicted.copy()
    elsewhere[truth[..., 0] == 0, 1] = 1
    assert (np.array(touching_border_loss(truth, elsewhere)) > np.array(touching_border_loss(truth, predicted))).all()


def test_gradients_of_the_border_are_finite():
    truth = encoded("touching_border")
    for predicted in (truth, 1 - truth, np.random.default_rng(0).random(truth.shape)):
        predicted = tf.constant(predicted.astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(predicted)
            value = tf.reduce_sum(touching_border_loss(truth, predicted))
        gradient = tape.gradient(value, predicted).numpy()
        assert np.isfinite(gradient).all() and gradient[..., 1].any() and not gradient[..., 0].any()


@pytest.mark.parametrize("off, expected", [(0.1, 0.02), (-0.1, 0.02), (0.25, 0.125), (0.65, 0.525)])
def test_one_pixel_whose_distance_is_off(off, expected):
    truth = np.zeros((1, 4, 5, 2), np.float32)
    truth[0, ..., 0].flat[:8] = 1
    truth[0, ..., 1].flat[:8] = 0.7
    predicted = truth.copy()
    predicted[0, 0, 2, 1] += off
    assert float(distance_loss(truth, predicted)[0]) == pytest.approx(expected / 8, rel=1e-4)


@pytest.mark.parametrize(
    "flow, expected",
    [((0, 1), 0), ((0, -1), 1.875), ((1, 0), np.sqrt(2) - 0.125), ((0, 0), 0.875), ((0, 0.8), 0.08)],
)
def test_one_pixel_whose_flow_is_off(flow, expected):
    truth = np.zeros((1, 4, 5, 3), np.float32)
    truth[0, :2, :, ::2] = 1  # ten pixels of foreground, which flow to the right
    predicted = truth.copy()
    predicted[0, 1, 1, 1:] = flow
    assert float(flows_loss(truth, predicted)[0]) == pytest.approx(3 * expected / 10, abs=1e-5)

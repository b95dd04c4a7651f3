import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from segmentation.network.losses import FOREGROUND_LOSSES, bce_dice
from segmentation.network.metrics import DiceCoefficient
from segmentation.network.target_losses import (
    INSTANCE_LOSSES,
    TargetLoss,
    centre_offsets_loss,
    distance_loss,
    near_touching,
    touching_border_loss,
)
from segmentation.network.unet import build_unet
from segmentation.targets import centre_offsets
from segmentation.targets.encodings import ENCODINGS
from tests.targets.label_maps import draw_disks

pytestmark = pytest.mark.slow

SCALE = centre_offsets.OFFSET_SCALE

every_encoding = pytest.mark.parametrize("name", ENCODINGS)
# The border between nuclei that nearly touch lies in the background.
every_encoding_of_the_foreground = pytest.mark.parametrize(
    "name", sorted(set(ENCODINGS) - {"touching_border", "foreground"})
)
every_separating_encoding = pytest.mark.parametrize("name", sorted(set(ENCODINGS) - {"foreground"}))


def encoded(name):
    """Truth of two images: two nuclei of different size, and none."""
    label_map = draw_disks((24, 40), (10, 10, 8), (14, 30, 4))
    return np.stack([ENCODINGS[name].encode(label_map), ENCODINGS[name].encode(0 * label_map)])


def constant_truth(foreground, radius, shape=(4, 5)):
    truth = np.zeros((1, *shape, 4), np.float32)
    truth[0, ..., 0].flat[:foreground] = 1
    truth[0, ..., 3].flat[:foreground] = np.log2(radius)
    return truth


def instance_loss(name):
    return INSTANCE_LOSSES[name][1]


def test_every_encoding_has_its_loss():
    assert {name: channels for name, (channels, _) in INSTANCE_LOSSES.items()} == {
        name: len(encoding.channels) for name, encoding in ENCODINGS.items()
    }
    assert {name for name, (_, loss) in INSTANCE_LOSSES.items() if loss is None} == {"foreground"}


@every_separating_encoding
def test_nothing_is_lost_at_the_truth(name):
    truth = encoded(name)
    np.testing.assert_allclose(instance_loss(name)(truth, truth), 0, atol=1e-6)


@every_encoding_of_the_foreground
def test_the_background_does_not_count(name):
    truth = encoded(name)
    predicted = truth + np.random.default_rng(0).normal(0, 1, truth.shape).astype(np.float32)
    elsewhere = predicted.copy()
    elsewhere[truth[..., 0] == 0, 1:] = 1e3
    loss = instance_loss(name)
    assert np.array_equal(loss(truth, predicted), loss(truth, elsewhere))
    assert float(loss(truth, predicted)[0]) > 0.01 and float(loss(truth, predicted)[1]) == 0


@every_encoding_of_the_foreground
@pytest.mark.parametrize("noise", [0.0, 1.0, 1e4])
def test_gradients_are_finite_and_none_in_the_background(name, noise):
    truth = encoded(name)
    predicted = tf.constant(truth + noise * np.random.default_rng(0).normal(size=truth.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        value = tf.reduce_sum(instance_loss(name)(truth, predicted))
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
    for foreground_name, foreground_loss in FOREGROUND_LOSSES.items():
        loss = TargetLoss(name, foreground_name, reduction=None)
        values = loss(truth, predicted)
        assert values.shape == (2,) and values.dtype == "float32"
        parts = foreground_loss(truth[..., 0], predicted[..., 0])
        if name != "foreground":
            parts += instance_loss(name)(truth, predicted)
        np.testing.assert_allclose(values, parts, rtol=1e-6)
        assert float(TargetLoss(name, foreground_name)(truth, predicted)) == pytest.approx(np.mean(parts), rel=1e-6)
        alone = [float(loss(truth[i : i + 1], predicted[i : i + 1])[0]) for i in range(2)]
        np.testing.assert_allclose(values, alone, rtol=1e-5)


@every_encoding
def test_half_precision_is_summed_in_float32(name):
    truth = encoded(name)
    predicted = tf.cast(truth + 0.3, "bfloat16")
    loss = TargetLoss(name, "dice", reduction=None)
    values = loss(tf.cast(truth, "bfloat16"), predicted)
    assert values.dtype == "float32"
    rounded = tf.cast(tf.cast(truth, "bfloat16"), "float32"), tf.cast(predicted, "float32")
    np.testing.assert_allclose(values, loss(*rounded), rtol=1e-6)


@every_encoding
def test_keras_compiles_it(name):
    truth = encoded(name)
    model = keras.Sequential([keras.layers.Input(truth.shape[1:]), keras.layers.Identity()])
    loss = TargetLoss(name, "dice")
    model.compile(loss=loss, jit_compile=False)
    predicted = 0.5 * truth
    assert model.evaluate(predicted, truth, batch_size=2, verbose=0) == pytest.approx(
        float(loss(truth, predicted)), rel=1e-5
    )


@pytest.mark.parametrize("argument", ["targets", "foreground"])
def test_an_unknown_name_is_refused_when_the_loss_is_made(argument):
    with pytest.raises(ValueError, match=f"{argument} must be one of .*, got 'no_such_name'"):
        TargetLoss(**{argument: "no_such_name"})


def test_tensors_of_another_encoding_are_refused_with_the_shapes():
    truth = encoded("distance")
    with pytest.raises(ValueError, match=r"\(B, H, W, 4\) for the targets 'centre_offsets', got \(2, 24, 40, 2\)"):
        TargetLoss("centre_offsets")(truth, truth)


@every_encoding
def test_a_model_compiled_with_it_is_saved_and_loaded_with_it(name, tmp_path):
    truth = encoded(name)
    model = build_unet(ENCODINGS[name].activations, base_filters=2, depth=2)
    images = np.random.default_rng(0).random((*truth.shape[:3], 3), np.float32)
    model.compile(loss=TargetLoss(name, "tversky"), metrics=[DiceCoefficient(0.4)], jit_compile=False)
    expected = model.evaluate(images, truth, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.loss.get_config() == model.loss.get_config()
    assert loaded.evaluate(images, truth, verbose=0) == pytest.approx(expected, rel=1e-6)


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

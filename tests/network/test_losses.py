import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from segmentation.network.losses import (
    FOREGROUND_LOSSES,
    bce_dice,
    binary_crossentropy,
    dice,
    focal_tversky,
    tversky,
)

pytestmark = pytest.mark.slow

every_loss = pytest.mark.parametrize("loss", FOREGROUND_LOSSES.values(), ids=FOREGROUND_LOSSES)

# Two images of four pixels: one of two foreground pixels, one empty.
TRUTH = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]]], np.float32)
PROBABILITY = np.array([[[0.9, 0.4], [0.2, 0.0]], [[0.1, 0.3], [0.0, 0.5]]], np.float32)
# First image: overlap 1.3, predicted 1.5, false 0.2, missed 0.7. Second: predicted and false 0.9.
BY_HAND = {
    "bce": [
        -(np.log(0.9) + np.log(0.4) + np.log(0.8)) / 4,
        -(np.log(0.9) + np.log(0.7) + np.log(0.5)) / 4,
    ],
    "dice": [1 - 3.6 / 4.5, 1 - 1 / 1.9],
    "tversky": [1 - 2.3 / (1.3 + 0.3 * 0.2 + 0.7 * 0.7 + 1), 1 - 1 / (1 + 0.3 * 0.9)],
}
BY_HAND["bce_dice"] = np.add(BY_HAND["bce"], BY_HAND["dice"])
BY_HAND["focal_tversky"] = np.power(BY_HAND["tversky"], 0.75)


def gradient(loss, truth, probability):
    probability = tf.convert_to_tensor(probability)
    with tf.GradientTape() as tape:
        tape.watch(probability)
        value = tf.reduce_sum(loss(truth, probability))
    return tape.gradient(value, probability).numpy()


@pytest.fixture(scope="module")
def random_masks():
    rng = np.random.default_rng(0)
    truth = (rng.random((4, 32, 48)) < [[[0.02]], [[0.3]], [[0.6]], [[0.95]]]).astype(np.float32)
    return truth, rng.random(truth.shape, np.float32)


@pytest.mark.parametrize("name", FOREGROUND_LOSSES)
def test_values_counted_by_hand(name):
    np.testing.assert_allclose(FOREGROUND_LOSSES[name](TRUTH, PROBABILITY), BY_HAND[name], rtol=1e-5, atol=1e-6)


def test_cross_entropy_is_that_of_keras(random_masks):
    truth, probability = random_masks
    probability[:, 0, :4] = truth[:, 0, :4]  # exact ones and zeros,
    probability[:, 1, :4] = 1 - truth[:, 1, :4]  # right and wrong
    peer = keras.losses.BinaryCrossentropy(reduction=None)(truth.reshape(4, -1), probability.reshape(4, -1))
    np.testing.assert_allclose(binary_crossentropy(truth, probability), peer, rtol=1e-5)


def test_dice_is_that_of_keras_but_for_the_smoothing(random_masks):
    truth, probability = random_masks
    peer = keras.losses.Dice(axis=(1, 2), reduction=None)(truth, probability)
    # With k = 1 - 2 I / S, ours is 1 - (2 I + 1) / (S + 1) = k S / (S + 1).
    total = truth.sum(axis=(1, 2)) + probability.sum(axis=(1, 2))
    np.testing.assert_allclose(dice(truth, probability), peer * total / (total + 1), rtol=1e-4)


@pytest.mark.parametrize("weight", [0.3, 0.5, 1.0])
def test_tversky_of_equal_weights_is_that_of_keras_but_for_the_smoothing(random_masks, weight):
    # Of equal weights alone: Keras 3.15 gives alpha to the misses, where the paper has it on the false alarms.
    truth, probability = random_masks
    peer = keras.losses.Tversky(weight, weight, axis=(1, 2), reduction=None)(truth, probability)
    denominator = np.sum(truth * probability + weight * np.abs(truth - probability), axis=(1, 2))
    expected = peer * denominator / (denominator + 1)
    np.testing.assert_allclose(tversky(truth, probability, weight, weight), expected, rtol=1e-4)


@pytest.mark.parametrize("alpha, beta", [(0.3, 0.7), (0.9, 0.2)])
def test_tversky_as_numpy_has_it(random_masks, alpha, beta):
    truth, probability = (array.astype(np.float64) for array in random_masks)
    hit, false, missed = (
        np.sum(part, axis=(1, 2))
        for part in (truth * probability, (1 - truth) * probability, truth * (1 - probability))
    )
    expected = 1 - (hit + 1) / (hit + alpha * false + beta * missed + 1)
    np.testing.assert_allclose(tversky(*random_masks, alpha, beta), expected, rtol=1e-4)


def test_tversky_of_equal_halves_is_dice_up_to_the_smoothing(random_masks):
    for ours, theirs in zip(tversky(*random_masks, 0.5, 0.5), dice(*random_masks), strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=0.01)


def test_tversky_counts_a_miss_more_than_a_false_alarm():
    truth = np.zeros((1, 20, 20), np.float32)
    truth[:, 5:15, 5:15] = 1
    missed, false = truth.copy(), truth.copy()
    missed[:, 5, 5:15], false[:, 15, 5:15] = 0, 1
    assert float(tversky(truth, missed)[0]) == pytest.approx(7 / (90 + 7 + 1))
    assert float(tversky(truth, false)[0]) == pytest.approx(3 / (100 + 3 + 1))


def test_focal_tversky_is_a_power_of_tversky(random_masks):
    for gamma in (4 / 3, 1.0, 2.0):
        expected = np.power(tversky(*random_masks), 1 / gamma)
        np.testing.assert_allclose(focal_tversky(*random_masks, gamma), expected, rtol=1e-5)


@every_loss
def test_one_value_an_image_of_float32_with_and_without_a_channel(loss, random_masks):
    truth, probability = random_masks
    values = loss(truth, probability)
    assert values.shape == (4,) and values.dtype == "float32"
    assert np.array_equal(loss(truth[..., None], probability[..., None]), values)


@every_loss
def test_an_image_is_judged_by_itself(loss, random_masks):
    truth, probability = random_masks
    values = loss(truth, probability).numpy()
    alone = [loss(truth[i : i + 1], probability[i : i + 1]).numpy()[0] for i in range(4)]
    np.testing.assert_allclose(values, alone, rtol=1e-5)
    np.testing.assert_allclose(loss(truth[::-1], probability[::-1])[::-1], values, rtol=1e-5)
    assert len(set(np.round(values, 3))) == 4


@every_loss
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_summed_in_float32(loss, dtype, random_masks):
    truth, probability = random_masks
    half = tf.cast(probability, dtype)
    values = loss(truth, half)
    assert values.dtype == "float32"
    # The rounded probabilities, but exact sums over them: bfloat16 cannot count past 256.
    np.testing.assert_allclose(values, loss(truth, tf.cast(half, "float32")), rtol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float64])
def test_the_truth_may_have_any_type(loss, dtype, random_masks):
    truth, probability = random_masks
    np.testing.assert_array_equal(loss(truth.astype(dtype), probability), loss(truth, probability))


@every_loss
def test_an_empty_image_predicted_empty_costs_nothing(loss):
    empty = np.zeros((1, 16, 16), np.float32)
    floor = 1e-5 if loss is focal_tversky else 1e-6  # its argument is held at 1e-7 or above, 1e-7 ** 0.75 = 5.6e-6
    assert 0 <= float(loss(empty, empty)[0]) < floor


def test_an_empty_image_predicted_otherwise_costs_what_the_docstrings_say():
    empty, probability = np.zeros((1, 10, 10), np.float32), np.full((1, 10, 10), 0.25, np.float32)
    assert float(binary_crossentropy(empty, probability)[0]) == pytest.approx(-np.log(0.75), rel=1e-5)
    assert float(dice(empty, probability)[0]) == pytest.approx(1 - 1 / 26, rel=1e-5)
    assert float(bce_dice(empty, probability)[0]) == pytest.approx(1 - 1 / 26 - np.log(0.75), rel=1e-5)
    assert float(tversky(empty, probability)[0]) == pytest.approx(1 - 1 / 8.5, rel=1e-5)
    assert float(focal_tversky(empty, probability)[0]) == pytest.approx((1 - 1 / 8.5) ** 0.75, rel=1e-5)


@every_loss
def test_an_image_predicted_empty_costs_nearly_all(loss):
    truth = np.ones((1, 16, 16), np.float32)
    assert 0.98 < float(loss(truth, 0 * truth)[0]) < 20


@every_loss
@pytest.mark.parametrize("fill", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("wrong", [False, True], ids=["perfect", "worst"])
def test_values_and_gradients_are_finite_at_exact_zeros_and_ones(loss, fill, wrong):
    truth = (np.random.default_rng(0).random((2, 16, 16)) < fill).astype(np.float32)
    probability = 1 - truth if wrong else truth
    assert np.isfinite(loss(truth, probability)).all()
    assert np.isfinite(gradient(loss, truth, probability)).all()


@every_loss
def test_the_gradient_points_to_the_truth_and_is_that_of_differences(loss):
    truth = (np.random.default_rng(0).random((1, 4, 5)) < 0.4).astype(np.float32)
    probability = np.random.default_rng(1).uniform(0.2, 0.8, truth.shape).astype(np.float32)
    analytic = gradient(loss, truth, probability)
    assert np.array_equal(analytic < 0, truth == 1)
    step = 1e-2
    for i in np.ndindex(truth.shape):
        above, below = probability.copy(), probability.copy()
        above[i] += step
        below[i] -= step
        difference = (float(loss(truth, above)[0]) - float(loss(truth, below)[0])) / (2 * step)
        assert analytic[i] == pytest.approx(difference, rel=0.02, abs=1e-4)


@every_loss
def test_better_predictions_cost_less(loss, random_masks):
    truth, noise = random_masks
    costs = [loss(truth, (1 - wrong) * truth + wrong * (1 - truth) * noise).numpy() for wrong in (0, 0.2, 0.5, 0.9)]
    assert (np.diff(costs, axis=0) > 0).all()


@every_loss
def test_keras_takes_the_mean_of_the_images(loss, random_masks):
    truth, probability = random_masks
    model = keras.Sequential([keras.layers.Input((32, 48)), keras.layers.Identity()])
    model.compile(loss=loss, jit_compile=False)
    assert model.evaluate(probability, truth, batch_size=4, verbose=0) == pytest.approx(
        np.mean(loss(truth, probability)), rel=1e-5
    )


@every_loss
@pytest.mark.parametrize(
    "true, predicted",
    [((2, 8, 8), (2, 8, 9)), ((2, 8, 8, 1), (2, 8, 8)), ((2, 8, 8, 4), (2, 8, 8, 4)), ((8, 8), (8, 8))],
)
def test_other_shapes_are_refused_with_both_shapes(loss, true, predicted):
    with pytest.raises(ValueError, match=re.escape(f"got {true} and {predicted}")):
        loss(np.zeros(true, np.float32), np.zeros(predicted, np.float32))


@pytest.mark.parametrize("name", FOREGROUND_LOSSES)
def test_a_model_compiled_with_it_is_saved_and_loaded_with_it(name, tmp_path):
    rng = np.random.default_rng(0)
    images, masks = rng.random((2, 8, 8, 3), np.float32), rng.integers(0, 2, (2, 8, 8, 1)).astype(np.float32)
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(1, 1, activation="sigmoid")])
    model.compile(optimizer="sgd", loss=FOREGROUND_LOSSES[name], jit_compile=False)
    model.fit(images, masks, verbose=0)
    expected = model.evaluate(images, masks, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.loss is FOREGROUND_LOSSES[name]
    assert loaded.evaluate(images, masks, verbose=0) == pytest.approx(expected, rel=1e-6)

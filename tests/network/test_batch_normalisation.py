import keras
import numpy as np
import pytest
import tensorflow as tf

from segmentation.network.batch_normalisation import FusedBatchNormalization
from segmentation.network.unet import build_unet

SHAPE = (3, 8, 6, 5)
VALUES_PER_CHANNEL = 3 * 8 * 6


@pytest.fixture
def layers():
    """Keras' layer and ours, with the same weights, none of them trivial."""
    rng = np.random.default_rng(0)
    pair = keras.layers.BatchNormalization(momentum=0.9), FusedBatchNormalization(momentum=0.9)
    weights = [rng.uniform(0.5, 2, SHAPE[-1]).astype(np.float32) for _ in range(4)]
    for layer in pair:
        layer.build(SHAPE)
        layer.set_weights(weights)
    return pair


@pytest.fixture
def inputs():
    rng = np.random.default_rng(1)
    scale, shift = rng.uniform(0.1, 10, SHAPE[-1]), rng.uniform(-20, 20, SHAPE[-1])
    return (scale * rng.normal(size=SHAPE) + shift).astype(np.float32)


def outputs_and_gradients(layer, inputs):
    inputs, weights = tf.constant(inputs), np.random.default_rng(2).normal(size=inputs.shape)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        value = tf.reduce_sum(tf.sin(outputs) * weights.astype(np.float32))
    variables = [variable.value for variable in layer.trainable_variables]
    return outputs, tape.gradient(value, [inputs, *variables])


def test_outputs_and_gradients_in_training_are_those_of_keras(layers, inputs):
    (ours, our_gradients), (theirs, their_gradients) = (outputs_and_gradients(layer, inputs) for layer in layers[::-1])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert len(our_gradients) == 3
    for one, other in zip(our_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max())


def test_moving_statistics_differ_by_bessels_correction_alone(layers, inputs):
    theirs, ours = layers
    mean, variance = inputs.mean(axis=(0, 1, 2)), inputs.var(axis=(0, 1, 2), ddof=1)
    old_mean, old_variance = (value.numpy() for value in (ours.moving_mean, ours.moving_variance))
    for layer in layers:
        layer(inputs, training=True)
    np.testing.assert_allclose(ours.moving_mean, 0.9 * old_mean + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-4)
    np.testing.assert_allclose(ours.moving_variance, 0.9 * old_variance + 0.1 * variance, rtol=1e-4)
    keras_variance = (theirs.moving_variance - 0.9 * old_variance) / 0.1
    correction = VALUES_PER_CHANNEL / (VALUES_PER_CHANNEL - 1)
    np.testing.assert_allclose(
        (ours.moving_variance - 0.9 * old_variance) / 0.1, keras_variance * correction, rtol=1e-3
    )


def test_inference_is_that_of_keras(layers, inputs):
    theirs, ours = (layer(inputs, training=False).numpy() for layer in layers)
    assert np.array_equal(ours, theirs)
    assert np.array_equal(layers[1](inputs), theirs)
    expected = (inputs - layers[1].moving_mean) / np.sqrt(layers[1].moving_variance + 1e-3)
    np.testing.assert_allclose(ours, expected * layers[1].gamma + layers[1].beta, rtol=1e-3, atol=1e-4)


def test_a_frozen_layer_infers_in_training_too(layers, inputs):
    for layer in layers:
        layer.trainable = False
        before = layer.get_weights()
        outputs = layer(inputs, training=True)
        assert np.array_equal(outputs, layer(inputs, training=False))
        assert all(map(np.array_equal, layer.get_weights(), before))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_its_statistics_in_float32(policy, inputs):
    ours, theirs = (
        layer_class(momentum=0.9, dtype=policy)
        for layer_class in (FusedBatchNormalization, keras.layers.BatchNormalization)
    )
    for layer in (ours, theirs):
        outputs = layer(inputs, training=True)
        assert outputs.dtype == policy.removeprefix("mixed_")
        assert {weight.dtype for weight in layer.weights} == {"float32"}
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=0.01, atol=0.01)
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=0.02)


def test_weights_go_from_one_network_to_the_other_and_back():
    ours, theirs = (
        build_unet(base_filters=2, depth=2, dropout=0.0, seed=seed, batch_normalisation=layer_class)
        for seed, layer_class in ((1, FusedBatchNormalization), (2, keras.layers.BatchNormalization))
    )
    assert sum(isinstance(layer, FusedBatchNormalization) for layer in ours.layers) == 6
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    for _ in range(3):
        ours(images, training=True)  # the moving statistics are no longer those of a new network
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(theirs(images), ours(images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(theirs(images, training=True), ours(images, training=True), rtol=1e-3, atol=1e-4)

"""The oracle is what changes in the output when one pixel of the image changes."""

import keras
import numpy as np
import pytest
from keras import layers

from segmentation.network.classic_unet import build_classic_unet
from segmentation.network.geometry import geometry_of
from segmentation.network.unet import build_unet

pytestmark = pytest.mark.slow


def build_dilated(activations, **options):
    """A network of other layers: dilation, average pooling, an even kernel, a wide transposed convolution."""
    image = keras.Input((None, None, 1))
    x = layers.Conv2D(1, 3, dilation_rate=3, padding="same")(image)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(1, 4, padding="same")(x)
    x = layers.Conv2D(1, 3, strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(1, 4, strides=4, padding="same")(x)
    return keras.Model(image, x)


def measured_radius(network, divisor, axis, length=384):
    """Change a pixel of a line, in each place of the grid on which the network pools; find the last that follows."""
    for layer in network.layers:
        if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose)):
            layer.kernel.assign(np.full(layer.kernel.shape, 1 / np.prod(layer.kernel.shape[:3])))  # nothing cancels out
    images = np.ones((divisor + 1, divisor, length, 1), np.float32)
    places = length // 2 + np.arange(divisor)
    images[np.arange(divisor), 0, places] = 1e10
    output = network(images if axis else images.swapaxes(1, 2)).numpy()
    output = output if axis else output.swapaxes(1, 2)
    changed = (np.abs(output / output[-1:] - 1) > 1e-6).any(axis=(1, 3))
    return max(np.abs(np.flatnonzero(row) - place).max() for row, place in zip(changed, places, strict=False))


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
@pytest.mark.parametrize(
    ("build", "depth"),
    [*((build, depth) for build in (build_unet, build_classic_unet) for depth in (1, 2, 3, 4)), (build_dilated, 2)],
)
def test_the_radius_is_how_far_a_pixel_matters(build, depth, axis):
    network = build(("linear",), base_filters=1, depth=depth, dropout=0.0, input_channels=1)
    radius, divisor = geometry_of(network)
    assert divisor == 2**depth
    assert measured_radius(network, divisor, axis) == radius


@pytest.mark.parametrize(
    "layer", [layers.GlobalAveragePooling2D(keepdims=True), layers.LayerNormalization(axis=(1, 2))]
)
def test_a_layer_that_looks_further_than_is_known_is_refused(layer):
    image = keras.Input((16, 16, 1))
    with pytest.raises(ValueError, match=f"layer {layer.name} looks, a {type(layer).__name__}, is not known"):
        geometry_of(keras.Model(image, layers.Conv2D(1, 1)(layer(image))))

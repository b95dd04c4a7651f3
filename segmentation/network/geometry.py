"""How far a network of any plan looks, and which sizes it takes: what prediction needs to know to cut tiles."""

import math

import keras
from keras import layers

_POINTWISE = (
    layers.Activation, layers.ReLU, layers.LeakyReLU, layers.BatchNormalization, layers.Dropout,
    layers.SpatialDropout2D, layers.Add, layers.Average, layers.Concatenate, layers.Multiply,
)  # fmt: skip


def geometry_of(network: keras.Model) -> tuple[int, int]:
    """Return the receptive field radius of a network and the divisor of the sizes that it takes, both in pixels.

    Parameters
    ----------
    network : keras.Model
        Its output is as large as the image.

    Returns
    -------
    radius : int
        How far from an output pixel an input pixel can matter: tiles with a margin of this width give the output of the
        whole image.
    divisor : int
        Height and width of the image must be multiples of this.

    Raises
    ------
    ValueError
        If the network holds a layer whose reach is not known here.

    Examples
    --------
    >>> from segmentation.network.unet import build_unet
    >>> geometry_of(build_unet(depth=1)), geometry_of(build_unet(depth=4))
    ((4, 2), (102, 16))
    """
    # A pixel of a tensor is `step` pixels of the image wide and depends on them, so many before and so many after them.
    known: dict[int, tuple[float, float, float]] = {}
    divisor = step = 1.0
    for layer in network.layers:
        if isinstance(layer, layers.InputLayer):
            known[id(layer.output)] = (1.0, 0.0, 0.0)
            continue
        inputs = [known[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        step, before, after = map(max, zip(*inputs, strict=True))
        if isinstance(layer, layers.Conv2DTranspose):
            factor = max(layer.strides)
            more = step * math.ceil(max(max(layer.kernel_size) - factor, 0) / factor) + step - step / factor
            step, before, after = step / factor, before + more, after + more
        elif isinstance(layer, layers.Conv2D | layers.MaxPooling2D | layers.AveragePooling2D):
            window = max(getattr(layer, "kernel_size", None) or layer.pool_size)
            beyond = max((window - 1) * max(getattr(layer, "dilation_rate", (1,))) + 1 - max(layer.strides), 0)
            step, before, after = (
                step * max(layer.strides), before + step * (beyond // 2), after + step * (beyond - beyond // 2)
            )  # fmt: skip
        elif not isinstance(layer, _POINTWISE):
            raise ValueError(
                f"how far the layer {layer.name} looks, a {type(layer).__name__}, is not known to "
                f"segmentation.network.geometry, so the network cannot be predicted with by tiles: add it there"
            )
        known[id(layer.output)] = (step, before, after)
        divisor = max(divisor, step)
    return math.ceil(max(before, after)), int(divisor)

"""Begin a wider network with the weights of a narrower one, without changing what it computes."""

import keras
import numpy as np
from keras import layers


def widen(narrow: keras.Model, wide: keras.Model) -> None:
    """Give a new network the weights of a trained one that has fewer filters in some or all layers.

    The filters of the trained network come first in each layer, and read nothing of the new ones; the new ones keep
    their random weights and read all. So both networks compute the same, and the first step of a training begins to
    make use of the new filters. In Net2WiderNet [1]_ the new filters are copies of old ones, which must then learn to
    differ; these differ from the start.

    Parameters
    ----------
    narrow : keras.Model
        From `segmentation.network.unet.build_unet`.
    wide : keras.Model
        From there too, with the same channels in and out and the same depth. Its weights are changed.

    Raises
    ------
    ValueError
        If the two differ in more than the number of filters, or the second has fewer.

    References
    ----------
    .. [1] Chen, Goodfellow, Shlens: Net2Net: Accelerating Learning via Knowledge Transfer, ICLR 2016,
       arXiv:1511.05641.
    """
    for old, new in _pairs(narrow, wide):
        new.set_weights([_widened(new, *weights) for weights in zip(old.get_weights(), new.get_weights(), strict=True)])


def _pairs(narrow: keras.Model, wide: keras.Model) -> list[tuple[layers.Layer, layers.Layer]]:
    """The layers that have weights, checked to fit."""
    old, new = ([layer for layer in model.layers if layer.weights] for model in (narrow, wide))
    if [layer.name for layer in old] != [layer.name for layer in new]:
        raise ValueError(f"the networks have other layers: {len(old)} with weights, and {len(new)}")
    for one, other in zip(old, new, strict=True):
        for weight, wider in zip(one.weights, other.weights, strict=True):
            few, many = tuple(weight.shape), tuple(wider.shape)
            # The sides of a convolution's kernel are the same; its other two axes are filters.
            if few[:-2] != many[:-2] or any(a > b for a, b in zip(few, many, strict=True)):
                raise ValueError(f"{one.name} has weights of the shape {few}, which do not fit into {many}")
    for direction in ("in", "out"):
        few, many = (getattr(model, f"{direction}put_shape")[-1] for model in (narrow, wide))
        if few != many:
            raise ValueError(f"the networks have other channels: {few} and {many} {direction}")
    return list(zip(old, new, strict=True))


def _widened(layer: layers.Layer, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    widened = new.copy()
    if old.ndim == 1:  # what a bias or a batch normalisation has for each filter
        widened[: len(old)] = old
        return widened
    # (..., read, written), where a transposed convolution has them the other way round.
    transposed = isinstance(layer, layers.Conv2DTranspose)
    kernel, trained = (array.swapaxes(-1, -2) if transposed else array for array in (widened, old))
    read, written = trained.shape[-2:]
    kernel[..., :read, :written] = trained
    kernel[..., read:, :written] = 0
    return widened

"""The classic U-Net (Ronneberger et al. 2015): full resolution, doubling filters, concatenated skip connections."""

import keras
from keras import layers

from segmentation.network.unet import check_sizes


def build_classic_unet(
    output_activations: tuple[str, ...] = ("sigmoid",),
    *,
    input_channels: int = 3,
    base_filters: int = 16,
    depth: int = 4,
    dropout: float = 0.1,
    seed: int = 0,
) -> keras.Model:
    """Build the classic U-Net for images of any size that is divisible by ``2 ** depth``.

    Two 3x3 convolutions a level at full resolution, twice as many filters after each pooling, and decoder features
    concatenated with the skip connection [1]_. Unlike the paper's it has zero padding, so that the output is as large
    as the input, batch normalisation [2]_ after every convolution, and dropout [3]_ in the lower half of the levels.
    `segmentation.network.unet.build_unet` takes half the operations and learns faster; this one is easy to recognise,
    to compare with and to change.

    Parameters
    ----------
    output_activations : tuple of str
        The Keras activation of each output channel, for example ``("sigmoid", "linear", "linear")``.
    input_channels : int
        Channels of the input image.
    base_filters : int
        Filters of the first level.
    depth : int
        Number of poolings.
    dropout : float
        Fraction of feature maps dropped, in [0, 1).
    seed : int
        Seeds the initial weights and the dropout.

    Returns
    -------
    keras.Model
        ``(B, H, W, input_channels)`` float32 -> ``(B, H, W, len(output_activations))`` float32. Not compiled; made of
        Keras' own layers alone, so it loads in safe mode.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015,
       arXiv:1505.04597.
    .. [2] Ioffe, Szegedy: Batch Normalization, ICML 2015, arXiv:1502.03167.
    .. [3] Tompson et al.: Efficient Object Localization Using Convolutional Networks, CVPR 2015, arXiv:1411.4280.

    Examples
    --------
    >>> import numpy as np
    >>> model = build_classic_unet(base_filters=4, depth=2)
    >>> model(np.zeros((1, 32, 48, 3), np.float32)).shape[1:]
    TensorShape([32, 48, 1])
    """
    check_sizes(output_activations, input_channels, base_filters, depth, dropout)
    seeds = iter(range(seed * 10_000, (seed + 1) * 10_000))

    def initializer() -> keras.Initializer:
        return keras.initializers.HeNormal(next(seeds))

    def double_convolution(x: keras.KerasTensor, level: int, name: str) -> keras.KerasTensor:
        for number in (1, 2):
            x = layers.Conv2D(
                base_filters * 2**level, 3, padding="same", use_bias=False, kernel_initializer=initializer(),
                name=f"{name}_{number}_conv",
            )(x)  # fmt: skip
            x = layers.BatchNormalization(momentum=0.95, name=f"{name}_{number}_bn")(x)
            x = layers.Activation("relu", name=f"{name}_{number}_relu")(x)
            if dropout and number == 1 and level >= depth / 2:
                x = layers.SpatialDropout2D(dropout, seed=next(seeds), name=f"{name}_dropout")(x)
        return x

    image = x = layers.Input((None, None, input_channels), name="image")
    skips = []
    for level in range(depth):
        x = double_convolution(x, level, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = double_convolution(x, depth, "bottom")
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(
            base_filters * 2**level, 2, strides=2, kernel_initializer=initializer(), name=f"up{level}_upconv"
        )(x)
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level], x])
        x = double_convolution(x, level, f"up{level}")
    outputs = [
        layers.Conv2D(
            1, 1, activation=activation, dtype="float32", kernel_initializer=initializer(), name=f"output_{number}"
        )(x)
        for number, activation in enumerate(output_activations)
    ]
    output = layers.Concatenate(dtype="float32", name="channels")(outputs) if len(outputs) > 1 else outputs[0]
    return keras.Model(image, output, name="classic_unet")

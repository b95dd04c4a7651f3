"""The U-Net of Ronneberger, Fischer and Brox (2015), with batch normalisation and dropout."""

import keras
from keras import layers


def build_unet(
    output_activations: tuple[str, ...] = ("sigmoid",),
    *,
    input_channels: int = 3,
    base_filters: int = 16,
    depth: int = 4,
    dropout: float = 0.1,
    seed: int = 0,
    batch_normalisation: type[layers.Layer] = layers.BatchNormalization,
) -> keras.Model:
    """Build a U-Net for images of any size that is divisible by ``2 ** depth``.

    Differences from the paper [1]_: batch normalisation [2]_ after every 3x3 convolution; zero padding, so that the
    output is as large as the input; dropout [3]_ not only at the bottom but before the second convolution of each
    block of the lower half of the levels, where the features are most redundant. The weights are drawn as in He et
    al. [4]_.

    Parameters
    ----------
    output_activations : tuple of str
        The Keras activation of each output channel, for example ``("sigmoid", "linear", "linear")``.
    input_channels : int
        Channels of the input image.
    base_filters : int
        Filters of the first level; each level below has twice as many. The cost per pixel grows with its square.
    depth : int
        How many times the image is halved.
    dropout : float
        Fraction of feature maps dropped, in [0, 1).
    seed : int
        Seeds the initial weights and the dropout.
    batch_normalisation : type of keras.layers.BatchNormalization
        A faster implementation for training; its weights fit a network with Keras' own.

    Returns
    -------
    keras.Model
        ``(B, H, W, input_channels)`` float32 -> ``(B, H, W, len(output_activations))`` float32, whatever the global
        precision policy. Not compiled; made of Keras' own layers alone, so it loads in safe mode.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015,
       arXiv:1505.04597.
    .. [2] Ioffe, Szegedy: Batch Normalization, ICML 2015, arXiv:1502.03167.
    .. [3] Tompson et al.: Efficient Object Localization Using Convolutional Networks, CVPR 2015, arXiv:1411.4280
       (whole feature maps are dropped, since neighbouring pixels are correlated).
    .. [4] He, Zhang, Ren, Sun: Delving Deep into Rectifiers, ICCV 2015, arXiv:1502.01852.
    """
    _check("input_channels", input_channels, input_channels >= 1, "at least 1")
    _check("base_filters", base_filters, base_filters >= 1, "at least 1")
    _check("depth", depth, depth >= 1, "at least 1")
    _check("dropout", dropout, 0 <= dropout < 1, "in [0, 1)")
    _check("output_activations", output_activations, len(output_activations) >= 1, "at least one activation")

    seeds = iter(range(seed * 10_000, (seed + 1) * 10_000))

    def convolution(x, filters, name):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,  # the batch normalisation that follows has one
            kernel_initializer=keras.initializers.HeNormal(next(seeds)),
            name=f"{name}_conv",
        )(x)
        # Statistics that follow within some twenty steps: short trainings are validated with them too.
        x = batch_normalisation(momentum=0.95, name=f"{name}_bn")(x)
        return layers.Activation("relu", name=f"{name}_relu")(x)

    def block(x, level, name):
        filters = base_filters * 2**level
        x = convolution(x, filters, f"{name}_1")
        if dropout and level >= depth / 2:
            x = layers.SpatialDropout2D(dropout, seed=next(seeds), name=f"{name}_dropout")(x)
        return convolution(x, filters, f"{name}_2")

    image = layers.Input((None, None, input_channels), name="image")
    x = image
    skips = []
    for level in range(depth):
        x = block(x, level, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = block(x, depth, "bottom")
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(
            base_filters * 2**level,
            2,
            strides=2,
            kernel_initializer=keras.initializers.HeNormal(next(seeds)),
            name=f"up{level}_upconv",
        )(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = block(x, level, f"up{level}")

    outputs = [
        layers.Conv2D(
            1,
            1,
            activation=activation,
            dtype="float32",
            kernel_initializer=keras.initializers.HeNormal(next(seeds)),
            name=f"output{channel}",
        )(x)
        for channel, activation in enumerate(output_activations)
    ]
    if len(outputs) > 1:
        outputs = [layers.Concatenate(dtype="float32", name="channels")(outputs)]
    return keras.Model(image, outputs[0], name="unet")


def receptive_field_radius(depth: int) -> int:
    """How far from an output pixel of `build_unet` an input pixel can still matter, in pixels.

    Two 3x3 convolutions a level widen the field by 2 pixels of that level on the way down and on the way up; a pixel
    of the level below covers two pixels, of which the output sees either, so halving and doubling can add one pixel
    of each level.

    Parameters
    ----------
    depth : int
        As in `build_unet`.

    Returns
    -------
    int
        An upper bound. Tiles whose margin is at least this wide give the same output as the whole image.
    """
    radius = 0
    for _level in range(depth):  # up: the convolutions, then the step to the coarser pixels
        radius = -(-(radius + 2) // 2)
    radius += 2
    for _level in range(depth):  # down: a coarse pixel is two fine ones wide, then the convolutions
        radius = 2 * radius + 1 + 2
    return radius


def _check(name: str, value, valid: bool, expected: str) -> None:
    if not valid:
        raise ValueError(f"{name} must be {expected}, got {value!r}")

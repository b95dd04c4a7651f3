"""Losses of the foreground, as functions of the true mask and the predicted probability: one value an image.

All take ``(B, H, W)`` or ``(B, H, W, 1)`` tensors: `truth` of 0 and 1, `probability` in [0, 1]. All return ``(B,)``
float32: the mean over a batch does not depend on which images share it. They raise `ValueError` for other shapes. A
model compiled with one of them can be saved and loaded, after this module is imported.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any
"""A tensor of whichever backend Keras uses."""

registered = keras.saving.register_keras_serializable(package="nuclei")

# Keeps the logarithm finite; the same as Keras' own epsilon.
_EPSILON = 1e-7

# Added to numerator and denominator of the overlap losses, in pixels: an empty mask that is predicted empty costs 0,
# and the gradient stays finite on the way there.
_SMOOTH = 1.0


@registered
def binary_crossentropy(truth: Tensor, probability: Tensor) -> Tensor:
    r"""Binary cross-entropy, the mean over the pixels.

    .. math:: -\frac{1}{N} \sum_i y_i \log p_i + (1 - y_i) \log (1 - p_i)

    Source: Ronneberger et al. 2015 (arXiv:1505.04597), eq. 1, for two classes and without weights. Probabilities are
    clipped to [1e-7, 1 - 1e-7].

    On an empty truth it is :math:`-\frac{1}{N} \sum_i \log (1 - p_i)`: 0 for an empty prediction.

    Examples
    --------
    >>> import numpy as np
    >>> truth, probability = np.array([[[1.0, 0.0]]]), np.array([[[0.8, 0.4]]])
    >>> round(float(binary_crossentropy(truth, probability)[0]), 4)  # -(log 0.8 + log 0.6) / 2
    0.367
    """
    truth, probability = _flatten(truth, probability)
    probability = ops.clip(probability, _EPSILON, 1 - _EPSILON)
    return -ops.mean(truth * ops.log(probability) + (1 - truth) * ops.log(1 - probability), axis=1)


@registered
def dice(truth: Tensor, probability: Tensor) -> Tensor:
    r"""Soft Dice loss.

    .. math:: 1 - \frac{2 \sum_i y_i p_i + 1}{\sum_i y_i + \sum_i p_i + 1}

    Source: Milletari et al. 2016 (arXiv:1606.04797), section 3, with plain instead of squared sums in the
    denominator (as in Sudre et al. 2017, arXiv:1707.03237), and smoothed by one pixel.

    On an empty truth it is :math:`1 - 1 / (1 + \sum_i p_i)`: 0 for an empty prediction, near 1 for any other.

    Examples
    --------
    >>> import numpy as np
    >>> truth, probability = np.array([[[1.0, 0.0]]]), np.array([[[0.8, 0.4]]])
    >>> round(float(dice(truth, probability)[0]), 4)  # 1 - (2 * 0.8 + 1) / (1 + 1.2 + 1)
    0.1875
    """
    truth, probability = _flatten(truth, probability)
    overlap = ops.sum(truth * probability, axis=1)
    return 1 - (2 * overlap + _SMOOTH) / (ops.sum(truth, axis=1) + ops.sum(probability, axis=1) + _SMOOTH)


@registered
def bce_dice(truth: Tensor, probability: Tensor) -> Tensor:
    """Sum of `binary_crossentropy` and `dice`.

    The cross-entropy judges every pixel by itself, which gives smooth gradients; the Dice loss judges the mask as a
    whole, so that a small foreground counts as much as a large one. Source: Isensee et al. 2018 (arXiv:1809.10486),
    section 2.2. On an empty truth: the sum of what the two return.

    Examples
    --------
    >>> import numpy as np
    >>> truth, probability = np.array([[[1.0, 0.0]]]), np.array([[[0.8, 0.4]]])
    >>> round(float(bce_dice(truth, probability)[0]), 4)
    0.5545
    """
    return binary_crossentropy(truth, probability) + dice(truth, probability)


@registered
def tversky(truth: Tensor, probability: Tensor, alpha: float = 0.3, beta: float = 0.7) -> Tensor:
    r"""Tversky loss: Dice with separate weights for false positives and false negatives.

    .. math:: 1 - \frac{TP + 1}{TP + \alpha FP + \beta FN + 1}, \quad
              TP = \sum_i y_i p_i,\; FP = \sum_i (1 - y_i) p_i,\; FN = \sum_i y_i (1 - p_i)

    Source: Salehi et al. 2017 (arXiv:1706.05721), eqs. 3 and 4; alpha 0.3 and beta 0.7 are the best of their table 1:
    missed foreground costs more than false foreground. With alpha = beta = 0.5 it is the Dice loss (up to the
    smoothing).

    On an empty truth it is :math:`1 - 1 / (1 + \alpha \sum_i p_i)`: 0 for an empty prediction.

    Examples
    --------
    >>> import numpy as np
    >>> truth, probability = np.array([[[1.0, 0.0]]]), np.array([[[0.8, 0.4]]])
    >>> round(float(tversky(truth, probability)[0]), 4)  # 1 - 1.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2 + 1)
    0.1262
    """
    truth, probability = _flatten(truth, probability)
    true_positive = ops.sum(truth * probability, axis=1)
    false_positive = ops.sum((1 - truth) * probability, axis=1)
    false_negative = ops.sum(truth * (1 - probability), axis=1)
    return 1 - (true_positive + _SMOOTH) / (true_positive + alpha * false_positive + beta * false_negative + _SMOOTH)


@registered
def focal_tversky(truth: Tensor, probability: Tensor, gamma: float = 4 / 3) -> Tensor:
    r"""Focal Tversky loss: the Tversky loss to a power, which changes the weight of hard and easy images.

    .. math:: \text{tversky}^{1 / \gamma}

    Source: Abraham and Khan 2019 (arXiv:1810.07842), eq. 4, with their gamma of 4/3, alpha 0.3 and beta 0.7 here as
    in `tversky`. On an empty truth: `tversky` to the same power, 0 for an empty prediction.

    Examples
    --------
    >>> import numpy as np
    >>> truth, probability = np.array([[[1.0, 0.0]]]), np.array([[[0.8, 0.4]]])
    >>> round(float(focal_tversky(truth, probability)[0]), 4)  # 0.1262 ** 0.75
    0.2118
    """
    # The power has an infinite slope at 0, where a perfect image would turn its gradient into NaN.
    return ops.power(ops.maximum(tversky(truth, probability), _EPSILON), 1 / gamma)


#: The choices of ``train.py --loss``.
FOREGROUND_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": binary_crossentropy,
    "dice": dice,
    "bce_dice": bce_dice,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
}


def _flatten(truth: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as (B, N) float32."""
    shapes = [tuple(tensor.shape) for tensor in (truth, probability)]
    # A dimension that is not known yet, while Keras traces a model, fits any other.
    agree = all(None in sizes or len(set(sizes)) == 1 for sizes in zip(*shapes, strict=False))
    if len(shapes[0]) != len(shapes[1]) or not agree or len(shapes[0]) not in (3, 4) or shapes[0][3:] not in ((), (1,)):
        raise ValueError(
            f"truth and prediction must both have the shape (B, H, W) or (B, H, W, 1), got {shapes[0]} and "
            f"{shapes[1]}; for an encoding with several channels use TargetLoss"
        )
    tensors = (ops.cast(tensor, "float32") for tensor in (truth, probability))
    first, second = (ops.reshape(tensor, (ops.shape(tensor)[0], -1)) for tensor in tensors)
    return first, second

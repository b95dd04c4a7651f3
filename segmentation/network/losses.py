"""Losses for the foreground, as functions of the true mask and the predicted probability, one value an image.

All take ``(B, H, W)`` or ``(B, H, W, 1)`` tensors: `truth` of 0 and 1, `probability` in [0, 1]. All return ``(B,)``
float32, the loss of each image by itself, so that the mean over a batch does not depend on which images share it.
"""

from collections.abc import Callable

from keras import ops

# Keeps the logarithm finite; the same as Keras' own epsilon.
_EPSILON = 1e-7

# Added to numerator and denominator of the overlap losses, in pixels: an empty mask that is predicted empty costs 0,
# and the gradient stays finite on the way there.
_SMOOTH = 1.0


def binary_crossentropy(truth, probability):
    r"""Binary cross-entropy, the mean over the pixels.

    .. math:: -\frac{1}{N} \sum_i y_i \log p_i + (1 - y_i) \log (1 - p_i)

    Source: Ronneberger et al. 2015 (arXiv:1505.04597), eq. 1, for two classes and without weights. Probabilities are
    clipped to [1e-7, 1 - 1e-7].

    On an empty truth it is :math:`-\frac{1}{N} \sum_i \log (1 - p_i)`: 0 for an empty prediction.
    """
    truth, probability = _flatten(truth), _flatten(probability)
    probability = ops.clip(probability, _EPSILON, 1 - _EPSILON)
    return -ops.mean(truth * ops.log(probability) + (1 - truth) * ops.log(1 - probability), axis=1)


def dice(truth, probability):
    r"""Soft Dice loss.

    .. math:: 1 - \frac{2 \sum_i y_i p_i + 1}{\sum_i y_i + \sum_i p_i + 1}

    Source: Milletari et al. 2016 (arXiv:1606.04797), section 3, with plain instead of squared sums in the
    denominator (as in Sudre et al. 2017, arXiv:1707.03237), and smoothed by one pixel.

    On an empty truth it is :math:`1 - 1 / (1 + \sum_i p_i)`: 0 for an empty prediction, near 1 for any other.
    """
    truth, probability = _flatten(truth), _flatten(probability)
    overlap = ops.sum(truth * probability, axis=1)
    return 1 - (2 * overlap + _SMOOTH) / (ops.sum(truth, axis=1) + ops.sum(probability, axis=1) + _SMOOTH)


def bce_dice(truth, probability):
    """Sum of `binary_crossentropy` and `dice`.

    The cross-entropy judges every pixel by itself, which gives smooth gradients; the Dice loss judges the mask as a
    whole, so that a small foreground counts as much as a large one. Source: Isensee et al. 2018 (arXiv:1809.10486),
    section 2.2. On an empty truth: the sum of what the two return.
    """
    return binary_crossentropy(truth, probability) + dice(truth, probability)


def tversky(truth, probability, alpha: float = 0.3, beta: float = 0.7):
    r"""Tversky loss: Dice with false positives and false negatives weighed apart.

    .. math:: 1 - \frac{TP + 1}{TP + \alpha FP + \beta FN + 1}, \quad
              TP = \sum_i y_i p_i,\; FP = \sum_i (1 - y_i) p_i,\; FN = \sum_i y_i (1 - p_i)

    Source: Salehi et al. 2017 (arXiv:1706.05721), eqs. 3 and 4; alpha 0.3 and beta 0.7 are the best of their table 1:
    missed foreground costs more than false foreground. With alpha = beta = 0.5 it is the Dice loss (up to the
    smoothing).

    On an empty truth it is :math:`1 - 1 / (1 + \alpha \sum_i p_i)`: 0 for an empty prediction.
    """
    truth, probability = _flatten(truth), _flatten(probability)
    true_positive = ops.sum(truth * probability, axis=1)
    false_positive = ops.sum((1 - truth) * probability, axis=1)
    false_negative = ops.sum(truth * (1 - probability), axis=1)
    return 1 - (true_positive + _SMOOTH) / (true_positive + alpha * false_positive + beta * false_negative + _SMOOTH)


def focal_tversky(truth, probability, gamma: float = 4 / 3):
    r"""Focal Tversky loss: the Tversky loss to a power, which changes how hard and easy images weigh.

    .. math:: \text{tversky}^{1 / \gamma}

    Source: Abraham and Khan 2019 (arXiv:1810.07842), eq. 4, with their gamma of 4/3, alpha 0.3 and beta 0.7 here as
    in `tversky`. On an empty truth: `tversky` to the same power, 0 for an empty prediction.
    """
    # The power has an infinite slope at 0, where a perfect image would turn its gradient into NaN.
    return ops.power(ops.maximum(tversky(truth, probability), _EPSILON), 1 / gamma)


#: The losses that ``train.py --loss`` offers.
FOREGROUND_LOSSES: dict[str, Callable] = {
    "bce": binary_crossentropy,
    "dice": dice,
    "bce_dice": bce_dice,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
}


def _flatten(tensor):
    tensor = ops.cast(tensor, "float32")
    return ops.reshape(tensor, (ops.shape(tensor)[0], -1))

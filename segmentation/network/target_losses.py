"""The loss of all channels of a target encoding: that of the foreground, and those that separate touching nuclei."""

from collections.abc import Callable

import numpy as np
from keras import ops

from segmentation.network.losses import bce_dice
from segmentation.targets import centre_offsets, distance, flows, touching_border

# What a pixel near a border of two nuclei counts on top of what others count.
_TOUCHING_WEIGHT = 4.0
# In pixels: the radius of a nucleus of median size.
_NEAR = 10
# In pixels: what is nearer is the same centre, but for rounding.
_SAME_CENTRE = 0.5


def centre_offsets_loss(truth, predicted):
    """How far from the centre each foreground pixel points, in units of the radius of its nucleus.

    A Huber loss (Huber 1964), quadratic up to a quarter of the radius, linear beyond: pixels at a border between two
    nuclei can point at the wrong centre without outweighing the others. Dividing by the radius makes small nuclei
    count as much as large ones. The binary logarithm of the radius is compared in the same way, at a quarter of the
    weight: with d the distance between the two centres, r the radius, and H the Huber loss with a threshold of 0.25,

        mean(H(d / r) + 0.25 H(log2 r' - log2 r))

    over the foreground, in which pixels near a border of two nuclei that touch count five times; 0 without foreground.

    The weight is the thought of Ronneberger et al. 2015 (equation 2), who gave more of it to the gaps between nuclei.
    Eight epochs with it, beginning with a trained model, gave an AP50 of 0.778 on the validation images of the 2018
    Data Science Bowl; without it, on the same crops, 0.769.

    Parameters
    ----------
    truth, predicted : (B, H, W, 4) tensors
        As `segmentation.targets.centre_offsets.encode` gives them.

    Returns
    -------
    (B,) tensor of float32
    """
    foreground = truth[..., 0]
    radius = ops.exp2(truth[..., 3])
    miss = (predicted[..., 1:3] - truth[..., 1:3]) * (centre_offsets.OFFSET_SCALE / radius[..., None])
    distance = ops.sqrt(ops.sum(ops.square(miss), axis=-1) + 1e-12)
    pixel_loss = _huber(distance, 0.25) + 0.25 * _huber(ops.abs(predicted[..., 3] - truth[..., 3]), 0.25)
    return _mean_over(foreground * (1.0 + _TOUCHING_WEIGHT * near_touching(truth)), pixel_loss)


def near_touching(truth):
    """Where the foreground is near a border of two nuclei that touch.

    Two neighbouring pixels of the foreground lie on such a border if they point at different centres. Near is what lies
    within `_NEAR` pixels, along rows and along columns, of the upper or left one of them.

    Parameters
    ----------
    truth : (B, H, W, 4) tensor
        As `segmentation.targets.centre_offsets.encode` gives it.

    Returns
    -------
    (B, H, W) tensor of float32
        0 or 1, also in the background.
    """
    is_foreground = truth[..., :1] > 0
    centre = centre_offsets.OFFSET_SCALE * truth[..., 1:3]  # counted from the pixel

    def border(one, other, step):
        apart = ops.max(ops.abs(centre[other] + step - centre[one]), axis=-1, keepdims=True) > _SAME_CENTRE
        return ops.cast(is_foreground[one] & is_foreground[other] & apart, "float32")

    above, below = np.s_[:, :-1], np.s_[:, 1:]
    left, right = np.s_[:, :, :-1], np.s_[:, :, 1:]
    between_rows = ops.pad(border(above, below, np.float32([1, 0])), ((0, 0), (0, 1), (0, 0), (0, 0)))
    between_columns = ops.pad(border(left, right, np.float32([0, 1])), ((0, 0), (0, 0), (0, 1), (0, 0)))
    near = ops.maximum(between_rows, between_columns)
    for window in ((2 * _NEAR + 1, 1), (1, 2 * _NEAR + 1)):  # one after the other, they make a square
        near = ops.max_pool(near, window, strides=1, padding="same")
    return near[..., 0]


def touching_border_loss(truth, predicted):
    """Cross-entropy and Dice loss of the border, as of a foreground.

    The winners of the 2018 Data Science Bowl (Buslaev, Durnov and Seferbekov, in Caicedo et al. 2019) trained their
    borders with both, too. Unlike those of the other encodings it counts in the background, where the border between
    nuclei that nearly touch lies.

    Parameters
    ----------
    truth, predicted : (B, H, W, 2) tensors
        As `segmentation.targets.touching_border.encode` gives them.

    Returns
    -------
    (B,) tensor of float32
    """
    return bce_dice(truth[..., 1], predicted[..., 1])


def distance_loss(truth, predicted):
    """How far the relative distance to the edge is off: a Huber loss (Huber 1964), linear from a quarter on.

    Naylor et al. 2019 (doi:10.1109/TMI.2018.2865709) regress distances with the squared error; the Huber loss is less
    moved by what cannot be known, such as where in a clump an edge is. The mean over the foreground; without foreground
    it is 0.

    Parameters
    ----------
    truth, predicted : (B, H, W, 2) tensors
        As `segmentation.targets.distance.encode` gives them.

    Returns
    -------
    (B,) tensor of float32
    """
    return _mean_over(truth[..., 0], _huber(ops.abs(predicted[..., 1] - truth[..., 1]), 0.25))


def flows_loss(truth, predicted):
    """Three times the length of the difference of the flows: a Huber loss (Huber 1964), linear from a quarter on.

    Cellpose (Stringer et al. 2021, doi:10.1038/s41592-020-01018-x) takes 25 / 4 of the squared error, over all pixels.
    With squares, the first steps are spent on flows far too long. With a weight of 1, a short training learns to give
    no flow at all: after 480 steps on the sample images the flows were 0.01 long, with a weight of 2 half as long as
    they should be. The mean over the foreground; without foreground it is 0.

    Parameters
    ----------
    truth, predicted : (B, H, W, 3) tensors
        As `segmentation.targets.flows.encode` gives them.

    Returns
    -------
    (B,) tensor of float32
    """
    squares = ops.sum(ops.square(predicted[..., 1:] - truth[..., 1:]), axis=-1)
    return 3.0 * _mean_over(truth[..., 0], _huber(ops.sqrt(squares + 1e-12), 0.25))


#: For each target encoding, the loss of its channels apart from the foreground.
INSTANCE_LOSSES: dict[str, Callable] = {
    centre_offsets.name: centre_offsets_loss,
    touching_border.name: touching_border_loss,
    distance.name: distance_loss,
    flows.name: flows_loss,
}


def target_loss(targets: str, foreground_loss: Callable) -> Callable:
    """Add the loss of the foreground channel to that of the other channels of an encoding.

    Parameters
    ----------
    targets : str
        Name of a target encoding.
    foreground_loss : callable
        One of `segmentation.network.losses.FOREGROUND_LOSSES`.

    Returns
    -------
    callable
        ``(truth, predicted)``, both ``(B, H, W, C)`` -> ``(B,)`` float32, for ``model.compile``.
    """
    instance_loss = INSTANCE_LOSSES[targets]

    def loss(truth, predicted):
        truth, predicted = ops.cast(truth, "float32"), ops.cast(predicted, "float32")
        return foreground_loss(truth[..., 0], predicted[..., 0]) + instance_loss(truth, predicted)

    return loss


def _huber(difference, delta):
    quadratic = ops.minimum(difference, delta)
    return (0.5 * ops.square(quadratic) + delta * (difference - quadratic)) / delta


def _mean_over(weight, values):
    return ops.sum(weight * values, axis=(1, 2)) / ops.maximum(ops.sum(weight, axis=(1, 2)), 1.0)

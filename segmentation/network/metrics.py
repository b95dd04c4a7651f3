"""Metrics of the foreground channel that Keras shows during training."""

import keras
from keras import ops

from segmentation.network.losses import Tensor, registered


class _MeanPerImage(keras.metrics.Metric):
    """Mean over the images of a figure of each image's thresholded foreground; independent of the batch size.

    `sample_weight`, (B,), is the weight of each image; equal without it.
    """

    def __init__(self, threshold: float = 0.5, name: str | None = None, **options: object):
        super().__init__(name=name, **options)
        self.threshold = threshold
        self.total = self.add_variable((), "zeros", name="total")
        self.images = self.add_variable((), "zeros", name="images")

    def figure(self, overlap: Tensor, true_area: Tensor, predicted_area: Tensor) -> Tensor:
        raise NotImplementedError

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> None:
        truth = ops.cast(y_true[..., 0] > 0.5, "float32")
        predicted = ops.cast(y_pred[..., 0] > self.threshold, "float32")
        overlap = ops.sum(truth * predicted, axis=(1, 2))
        figures = self.figure(overlap, ops.sum(truth, axis=(1, 2)), ops.sum(predicted, axis=(1, 2)))
        weights = ops.ones_like(figures) if sample_weight is None else ops.cast(sample_weight, "float32")
        self.total.assign_add(ops.sum(weights * figures))
        self.images.assign_add(ops.sum(weights))

    def result(self) -> Tensor:
        return ops.divide_no_nan(self.total, self.images)

    def get_config(self) -> dict:
        return super().get_config() | {"threshold": self.threshold}


@registered
class DiceCoefficient(_MeanPerImage):
    r"""Dice coefficient of the foreground, :math:`2 |A \cap B| / (|A| + |B|)`, the mean over the images.

    Source: Dice 1945; the mean per image is what papers on the 2018 Data Science Bowl report. An image without nuclei
    in which none are predicted counts as 1. `update_state` takes ``(B, H, W, C)`` tensors whose channel 0 is the
    foreground: 0 and 1 in the truth, a probability in the prediction, foreground above `threshold`.

    Examples
    --------
    >>> import numpy as np
    >>> metric = DiceCoefficient()
    >>> metric.update_state(np.array([[[[1.0], [1.0], [0.0]]]]), np.array([[[[0.9], [0.2], [0.1]]]]))
    >>> round(float(metric.result()), 4)  # 2 * 1 / (2 + 1)
    0.6667
    """

    def __init__(self, threshold: float = 0.5, name: str = "dice", **options: object):
        super().__init__(threshold, name, **options)

    def figure(self, overlap: Tensor, true_area: Tensor, predicted_area: Tensor) -> Tensor:
        total = true_area + predicted_area
        return ops.where(total > 0, 2 * overlap / ops.maximum(total, 1.0), 1.0)


@registered
class IntersectionOverUnion(_MeanPerImage):
    r"""Intersection over union of the foreground, :math:`|A \cap B| / |A \cup B|`, the mean over the images.

    Source: Jaccard 1912. Takes what `DiceCoefficient` takes; 1 where both masks are empty.

    Examples
    --------
    >>> import numpy as np
    >>> metric = IntersectionOverUnion()
    >>> metric.update_state(np.array([[[[1.0], [1.0], [0.0]]]]), np.array([[[[0.9], [0.2], [0.1]]]]))
    >>> float(metric.result())
    0.5
    """

    def __init__(self, threshold: float = 0.5, name: str = "iou", **options: object):
        super().__init__(threshold, name, **options)

    def figure(self, overlap: Tensor, true_area: Tensor, predicted_area: Tensor) -> Tensor:
        union = true_area + predicted_area - overlap
        return ops.where(union > 0, overlap / ops.maximum(union, 1.0), 1.0)

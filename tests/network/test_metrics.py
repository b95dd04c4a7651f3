import keras
import numpy as np
import pytest

from segmentation.network.metrics import DiceCoefficient, IntersectionOverUnion

both = pytest.mark.parametrize("metric_class", [DiceCoefficient, IntersectionOverUnion])


def of_one_image(metric_class, truth, predicted):
    if not (truth | predicted).any():
        return 1.0
    overlap = np.sum(truth & predicted)
    if metric_class is DiceCoefficient:
        return 2 * overlap / (np.sum(truth) + np.sum(predicted))
    return overlap / np.sum(truth | predicted)


@pytest.fixture
def batch():
    """Truth and prediction of 10 images, (10, 12, 9, 3) float32; one is empty in both, two in one of the two."""
    rng = np.random.default_rng(0)
    fill = rng.random((10, 1, 1))
    truth, predicted = rng.normal(size=(2, 10, 12, 9, 3)).astype(np.float32)
    truth[..., 0] = rng.random((10, 12, 9)) < fill
    predicted[..., 0] = rng.random((10, 12, 9))
    truth[[0, 1], ..., 0] = 0
    predicted[[0, 2], ..., 0] *= 0.4
    return truth, predicted


@both
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_the_mean_over_the_images_as_numpy_has_it(metric_class, threshold, batch):
    truth, predicted = batch
    expected = [
        of_one_image(metric_class, true[..., 0] > 0.5, found[..., 0] > threshold)
        for true, found in zip(truth, predicted, strict=True)
    ]
    metric = metric_class(threshold)
    metric.update_state(truth, predicted)
    assert float(metric.result()) == pytest.approx(np.mean(expected), rel=1e-5)


@both
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_batch_size_does_not_matter(metric_class, size, batch):
    whole, parts = metric_class(), metric_class()
    whole.update_state(*batch)
    for start in range(0, 10, size):
        parts.update_state(batch[0][start : start + size], batch[1][start : start + size])
    assert float(parts.result()) == pytest.approx(float(whole.result()), rel=1e-6)


@both
@pytest.mark.parametrize(
    "true, found, dice, iou",
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], 1, 1),
        ([0, 0, 0, 0], [1, 0, 0, 0], 0, 0),
        ([1, 0, 0, 0], [0, 0, 0, 0], 0, 0),
        ([1, 1, 0, 0], [1, 1, 0, 0], 1, 1),
        ([1, 1, 0, 0], [0, 1, 1, 0], 1 / 2, 1 / 3),
        ([1, 1, 1, 0], [0.51, 0.5, 0.49, 0], 1 / 2, 1 / 3),  # foreground is above the threshold, not at it
    ],
)
def test_figures_counted_by_hand(metric_class, true, found, dice, iou):
    metric = metric_class()
    metric.update_state(np.reshape(true, (1, 2, 2, 1)).astype(np.float32), np.reshape(found, (1, 2, 2, 1)))
    assert float(metric.result()) == pytest.approx(dice if metric_class is DiceCoefficient else iou)


@both
def test_images_and_not_pixels_are_averaged(metric_class):
    truth = np.zeros((2, 10, 10, 1), np.float32)
    truth[0] = 1
    truth[1, 0, 0] = 1
    predicted = truth.copy()
    predicted[1] = 0
    metric = metric_class()
    metric.update_state(truth, predicted)
    assert float(metric.result()) == pytest.approx(0.5)


@both
def test_reset_forgets(metric_class, batch):
    metric = metric_class()
    assert float(metric.result()) == 0  # nothing seen yet
    metric.update_state(*batch)
    first = float(metric.result())
    assert 0 < first < 1
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(*batch)
    assert float(metric.result()) == first


@both
def test_keras_reports_it_by_name(metric_class, batch):
    truth, predicted = batch
    model = keras.Sequential([keras.layers.Input((12, 9, 3)), keras.layers.Identity()])
    metric = metric_class()
    assert metric.name == ("dice" if metric_class is DiceCoefficient else "iou")
    model.compile(loss="mse", metrics=[metric], jit_compile=False)
    shown = model.evaluate(predicted, truth, batch_size=3, verbose=0, return_dict=True)[metric.name]
    alone = metric_class()
    alone.update_state(truth, predicted)
    assert shown == pytest.approx(float(alone.result()), rel=1e-5)


@both
def test_its_configuration_gives_it_back(metric_class):
    metric = metric_class(threshold=0.3, name="mine")
    again = metric_class.from_config(metric.get_config())
    assert (again.threshold, again.name) == (0.3, "mine")


@both
def test_images_of_the_weight_0_do_not_count(metric_class, batch):
    truth, predicted = batch
    metric, alone = metric_class(), metric_class()
    metric.update_state(truth, predicted, sample_weight=np.array([1.5] + [0.0] * (len(truth) - 1)))
    alone.update_state(truth[:1], predicted[:1])
    assert float(metric.result()) == pytest.approx(float(alone.result()))

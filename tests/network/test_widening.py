import keras
import numpy as np
import pytest

from segmentation.network.unet import build_unet
from segmentation.network.widening import widen

ACTIVATIONS = ("sigmoid", "linear", "linear")


def network(base_filters, seed, **options):
    return build_unet(ACTIVATIONS, base_filters=base_filters, seed=seed, **({"depth": 3, "dropout": 0.0} | options))


@pytest.fixture(scope="module")
def trained():
    """A network whose moving statistics and biases are not those of a new one."""
    model = network(3, seed=1)
    rng = np.random.default_rng(0)
    # Small enough that variances stay positive.
    model.set_weights(
        [weight + 0.1 * rng.uniform(-1, 1, weight.shape).astype(np.float32) for weight in model.get_weights()]
    )
    return model


@pytest.fixture
def pictures():
    return np.random.default_rng(1).random((2, 32, 48, 3), np.float32)


@pytest.mark.parametrize("base_filters", [3, 4, 7])
def test_a_widened_network_computes_the_same(trained, pictures, base_filters):
    wide = network(base_filters, seed=2)
    before = wide.predict_on_batch(pictures)
    expected = trained.predict_on_batch(pictures)
    assert not np.allclose(before, expected, atol=1e-2)
    widen(trained, wide)
    np.testing.assert_allclose(wide.predict_on_batch(pictures), expected, rtol=1e-4, atol=1e-4)


def test_the_new_filters_see_the_picture_and_differ_from_each_other(trained, pictures):
    wide = network(5, seed=2)
    widen(trained, wide)
    kernel = wide.get_layer("down1_1_conv").get_weights()[0]  # (h, w, read, written)
    new = kernel[..., 3:].reshape(-1, 2)
    assert (np.abs(new).max(axis=0) > 0).all()
    assert abs(np.corrcoef(new.T)[0, 1]) < 0.9


def test_the_first_step_begins_to_use_the_new_filters(trained, pictures):
    wide = network(5, seed=2)
    widen(trained, wide)

    def unused():
        return wide.get_layer("down1_2_conv").get_weights()[0][..., 3:, :3]

    assert (unused() == 0).all()
    wide.compile(keras.optimizers.SGD(0.01), loss="mse")
    wide.train_on_batch(pictures, np.zeros((2, 32, 48, 3), np.float32))
    assert (unused() != 0).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_filters": 2}, "do not fit into"),
        ({"base_filters": 4, "depth": 2}, "other layers"),
        ({"base_filters": 4, "input_channels": 1}, "do not fit into"),
        ({"base_filters": 4, "input_channels": 4}, "other channels: 3 and 4 in"),
    ],
)
def test_what_is_no_wider_network_of_the_same_plan_is_refused_and_left_alone(trained, options, message):
    other = network(seed=2, **options)
    before = other.get_weights()
    with pytest.raises(ValueError, match=message):
        widen(trained, other)
    assert all((old == new).all() for old, new in zip(before, other.get_weights(), strict=True))


def test_other_channels_out_are_refused(trained):
    other = build_unet(("sigmoid", "linear", "linear", "linear"), base_filters=4, depth=3, dropout=0.0)
    with pytest.raises(ValueError, match="3 and 4 out"):
        widen(trained, other)

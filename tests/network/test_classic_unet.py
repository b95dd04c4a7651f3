import keras
import numpy as np
import pytest
from keras import layers

from segmentation.network.classic_unet import build_classic_unet

pytestmark = pytest.mark.slow


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).random((*shape, 3), np.float32)


def of_type(network, layer_type):
    return [layer for layer in network.layers if isinstance(layer, layer_type)]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_any_size_that_the_depth_divides_comes_out_as_large(depth):
    network = build_classic_unet(("sigmoid", "linear"), base_filters=2, depth=depth)
    step = 2**depth
    for height, width in ((step, step), (3 * step, 2 * step)):
        assert network(pictures(2, height, width)).shape == (2, height, width, 2)


def test_it_is_the_plan_of_the_paper():
    network = build_classic_unet(base_filters=64, depth=4, dropout=0.0)
    convolutions = [layer for layer in network.layers if type(layer) is layers.Conv2D]
    filters = [layer.filters for layer in convolutions]
    assert filters == [64] * 2 + [128] * 2 + [256] * 2 + [512] * 2 + [1024] * 2 + [512] * 2 + [256] * 2 + [128] * 2 + [
        64
    ] * 2 + [1]
    assert all(layer.kernel_size == (3, 3) and layer.strides == (1, 1) for layer in convolutions[:-1])
    skips = of_type(network, layers.Concatenate)
    assert [skip.output.shape[-1] for skip in skips] == [1024, 512, 256, 128]
    # Weights and biases of the plan for three channels in and one out, counted by hand; each bias of a 3x3 convolution
    # is replaced by scale, shift and two moving statistics.
    normalised = sum(filters[:-1])
    assert network.count_params() == 31_031_745 - normalised + 4 * normalised
    assert len(of_type(network, layers.BatchNormalization)) == 18


def test_dropout_is_in_the_lower_half():
    names = [layer.name for layer in of_type(build_classic_unet(base_filters=2, depth=4), layers.SpatialDropout2D)]
    assert names == ["down2_dropout", "down3_dropout", "bottom_dropout", "up3_dropout", "up2_dropout"]


def test_a_saved_network_loads_in_safe_mode_with_nothing_of_ours(tmp_path):
    network = build_classic_unet(("sigmoid", "linear"), base_filters=2, depth=2)
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(pictures(1, 8, 8)), network(pictures(1, 8, 8)), rtol=1e-5)


def test_the_seed_decides_the_weights():
    one, same, other = (build_classic_unet(base_filters=2, depth=1, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), same.get_weights(), strict=True))
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("argument, value", [("depth", 0), ("base_filters", 0), ("dropout", 1.0)])
def test_arguments_out_of_range_are_refused_by_name_and_value(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be .*, got {value!r}"):
        build_classic_unet(**{argument: value})

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from segmentation.network.geometry import geometry_of
from segmentation.network.unet import build_unet
from segmentation.targets.encodings import ENCODINGS

pytestmark = pytest.mark.slow


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="module")
def small():
    """A network of two channels whose moving statistics are not those of a new one."""
    network = build_unet(("sigmoid", "linear"), base_filters=4, depth=2, dropout=0.3, seed=3)
    for seed in range(3):
        network(pictures(4, 32, 32, seed=seed), training=True)
    return network


def pictures(*shape, channels=3, seed=0):
    return np.random.default_rng(seed).random((*shape, channels), np.float32)


def of_type(network, layer_type):
    return [layer for layer in network.layers if isinstance(layer, layer_type)]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_any_size_that_the_depth_divides_comes_out_as_large(depth):
    network = build_unet(("sigmoid", "linear", "linear"), base_filters=2, depth=depth)
    step = 2**depth
    for height, width in ((step, step), (3 * step, 2 * step), (5 * step, 7 * step)):
        assert network(pictures(2, height, width)).shape == (2, height, width, 3)
    assert network.output_shape == (None, None, None, 3)


def test_a_size_that_the_depth_does_not_divide_is_refused():
    network = build_unet(base_filters=2, depth=2)
    with pytest.raises(Exception, match=r"(?i)shape|dimension"):
        network(pictures(1, 16, 18))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channels_of_the_input(channels):
    network = build_unet(input_channels=channels, base_filters=2, depth=1)
    assert network(pictures(1, 4, 4, channels=channels)).shape == (1, 4, 4, 1)


@pytest.mark.parametrize("targets", ENCODINGS)
def test_each_output_channel_has_its_activation(targets):
    activations = ENCODINGS[targets].activations
    network = build_unet(activations, base_filters=4, depth=2)
    for layer in network.layers:
        if layer.name.startswith("output"):
            layer.kernel.assign(1000 * layer.kernel)
    output = network(pictures(1, 32, 32)).numpy()
    assert output.shape[-1] == len(activations)
    for channel, activation in enumerate(activations):
        inside = (output[..., channel] >= 0) & (output[..., channel] <= 1)
        assert inside.all() == (activation == "sigmoid")


def test_channels_of_one_activation_need_not_be_neighbours():
    network = build_unet(("sigmoid", "linear", "linear", "sigmoid", "tanh"), base_filters=2, depth=1)
    outputs = [(layer.activation.__name__, layer.filters) for layer in network.layers if "output" in layer.name]
    assert outputs == [("sigmoid", 1), ("linear", 2), ("sigmoid", 1), ("tanh", 1)]
    assert network(pictures(1, 8, 8)).shape == (1, 8, 8, 5)


def test_number_of_weights_counted_by_hand():
    # Two levels of 2 and 4 filters; a batch normalisation has four numbers a filter.
    down1 = 4 * 4 * 3 * 2 + 4 * 2 + 3 * 3 * 2 * 2 + 4 * 2
    down2 = 3 * 3 * 2 * 4 + 4 * 4 + 3 * 3 * 4 * 4 + 4 * 4
    up1 = (2 * 2 * 4 * 2 + 2) + 3 * 3 * 2 * 2 + 4 * 2 + 3 * 3 * 2 * 2 + 4 * 2
    output = 2 * 2 * 2 + 1
    assert down1 + down2 + up1 + output == 527
    assert build_unet(base_filters=2, depth=2).count_params() == 527
    assert build_unet(("sigmoid", "linear"), base_filters=2, depth=2).count_params() == 527 + output


def test_multiplications_counted_by_hand():
    """The figure in the docstring: 45 thousand operations a pixel by 32 filters and a depth of 4."""
    network = build_unet(("sigmoid", "linear", "linear", "linear"))
    weighted = of_type(network, (layers.Conv2D, layers.Conv2DTranspose))
    side, products = 64, 0
    outputs = keras.Model(network.input, [layer.output for layer in weighted])(pictures(1, side, side))
    for layer, output in zip(weighted, outputs, strict=True):
        pixels = output.shape[1] * output.shape[2]
        if isinstance(layer, layers.Conv2DTranspose):  # of a 2x2 kernel, each pixel sees one place
            pixels /= 4
        products += np.prod(layer.kernel.shape) * pixels
    half, quarter, eighth, sixteenth = (side // 2**level for level in (1, 2, 3, 4))
    by_hand = half**2 * (4 * 4 * 3 * 32 + 9 * 32 * 32 + 9 * 32 * 32 * 2 + 4 * 32 * 4)  # down, up, output
    by_hand += quarter**2 * (9 * 32 * 64 + 9 * 64 * 64 * 3 + 4 * 64 * 32)  # down, up, and up to the level above
    by_hand += eighth**2 * (9 * 64 * 96 + 9 * 96 * 96 * 3 + 4 * 96 * 64)
    by_hand += sixteenth**2 * (9 * 96 * 128 + 9 * 128 * 128 + 4 * 128 * 96)
    assert products == by_hand
    assert 2 * by_hand / side**2 == pytest.approx(44_700, abs=100)


def test_each_level_has_as_many_filters_more_as_the_first_has():
    network = build_unet(base_filters=3, depth=3)
    filters = {layer.name: layer.filters for layer in of_type(network, layers.Conv2D) if layer.name.endswith("_2_conv")}
    down = {f"down{level}_2_conv": 3 * level for level in (1, 2, 3)}
    up = {f"up{level}_2_conv": 3 * level for level in (1, 2)}
    assert filters == down | up


def test_convolutions_are_drawn_as_he_et_al():
    network = build_unet(base_filters=32, depth=2)
    for layer in of_type(network, layers.Conv2D):
        if not layer.name.endswith("_conv"):
            continue
        kernel = layer.kernel.numpy()
        expected = 2 / np.prod(kernel.shape[:3])
        tolerance = 6 * np.sqrt(2 / kernel.size)  # six standard errors of a variance
        assert kernel.var() == pytest.approx(expected, rel=tolerance), layer.name
        assert abs(kernel.mean()) < 6 * np.sqrt(expected / kernel.size), layer.name
    assert build_unet(base_filters=64, depth=1).get_layer("down1_1_conv").kernel.numpy().var() == pytest.approx(
        2 / 48, rel=0.1
    )


def test_no_two_kernels_are_drawn_alike():
    network = build_unet(base_filters=4, depth=4)
    kernels = [layer.kernel.numpy().ravel() for layer in of_type(network, (layers.Conv2D, layers.Conv2DTranspose))]
    starts = [kernel[:4] / kernel.std() for kernel in kernels if kernel.size > 100]
    assert len({tuple(np.round(start, 3)) for start in starts}) == len(starts) > 15


def test_every_convolution_is_normalised_without_a_bias_of_its_own():
    network = build_unet(base_filters=2, depth=3)
    convolutions = [layer for layer in network.layers if type(layer) is layers.Conv2D]
    assert len(convolutions) == 2 * (3 + 2)
    for layer in convolutions:
        (node,) = layer.output._keras_history.operation._outbound_nodes
        assert isinstance(node.operation, layers.BatchNormalization) and not layer.use_bias
    assert len(of_type(network, layers.BatchNormalization)) == len(convolutions)


def test_dropout_is_in_the_lower_half_and_active_in_training_alone(small):
    names = {layer.name for layer in of_type(small, layers.SpatialDropout2D)}
    assert names == {"down2_dropout"}
    deeper = of_type(build_unet(base_filters=1, depth=4), layers.SpatialDropout2D)
    assert {layer.name for layer in deeper} == {"down3_dropout", "up3_dropout", "down4_dropout"}
    images = pictures(2, 32, 32)
    first, second = small(images, training=True).numpy(), small(images, training=True).numpy()
    assert np.abs(first - second).max() > 1e-3
    assert np.array_equal(small(images), small(images))
    assert np.array_equal(small(images), small(images, training=False))


def test_dropout_drops_whole_feature_maps_at_its_rate():
    network = build_unet(base_filters=64, depth=1, dropout=0.4)
    layer = network.get_layer("down1_dropout")
    features = layer(np.ones((8, 4, 4, 64), np.float32), training=True).numpy()
    maps = features.reshape(8, 16, 64)
    assert (maps == maps[:, :1]).all()
    assert (maps[:, 0] == 0).mean() == pytest.approx(0.4, abs=0.06)


def test_without_dropout_two_training_steps_are_alike():
    network = build_unet(base_filters=2, depth=2, dropout=0)
    assert not of_type(network, (layers.Dropout, layers.SpatialDropout2D))
    images = pictures(2, 16, 16)
    assert np.array_equal(network(images, training=True), network(images, training=True))


def test_the_seed_decides_the_weights_and_the_dropout():
    images = pictures(2, 16, 16)
    # The generator's state goes on from call to call, so each network is called once.
    networks = [build_unet(base_filters=2, depth=2, dropout=0.5, seed=seed) for seed in (5, 5, 6)]
    weights = [network.get_weights() for network in networks]
    one, same, _ = (network(images, training=True).numpy() for network in networks)
    assert all(map(np.array_equal, weights[0], weights[1]))
    assert np.array_equal(one, same)
    kernels = [i for i, weight in enumerate(weights[0]) if weight.ndim == 4]
    assert not any(np.array_equal(weights[0][i], weights[2][i]) for i in kernels)


def test_the_output_is_float32_under_mixed_precision(mixed_precision):
    network = build_unet(("sigmoid", "linear"), base_filters=2, depth=1)
    assert network.get_layer("down1_1_conv").compute_dtype == "bfloat16"
    output = network(pictures(1, 8, 8))
    assert output.dtype == "float32" and {str(tensor.dtype) for tensor in network.outputs} == {"float32"}
    assert {weight.dtype for weight in network.weights if "seed" not in weight.path} == {"float32"}
    # More than the 8 bits of a bfloat16: the last convolution is computed in float32, not only cast.
    bits = output.numpy().view(np.uint32)
    assert (bits & 0xFFFF).any()
    single = build_unet(base_filters=2, depth=1)
    assert single(pictures(1, 8, 8)).dtype == "float32"


def test_a_saved_network_loads_in_safe_mode_with_nothing_of_ours(small, tmp_path):
    assert {type(layer).__module__.split(".")[0] for layer in small.layers} == {"keras"}
    assert "nuclei>" not in small.to_json()  # under which our losses and metrics are registered
    small.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = pictures(2, 24, 40)
    assert np.array_equal(loaded(images), small(images))
    assert not np.allclose(small(images), build_unet(("sigmoid", "linear"), base_filters=4, depth=2)(images))


@pytest.mark.parametrize(
    "argument, value, expected",
    [
        ("input_channels", 0, "at least 1"),
        ("base_filters", 0, "at least 1"),
        ("base_filters", -4, "at least 1"),
        ("depth", 0, "at least 1"),
        ("dropout", 1, r"in \[0, 1\)"),
        ("dropout", -0.1, r"in \[0, 1\)"),
        ("output_activations", (), "at least one activation"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name_and_value(argument, value, expected):
    with pytest.raises(ValueError, match=f"{argument} must be {expected}, got {value!r}".replace("()", r"\(\)")):
        build_unet(**{argument: value})


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_inside_of_a_crop_is_that_of_the_whole(depth):
    # No layer looks at the whole image: neither pools over it nor normalises by it.
    network = build_unet(("sigmoid", "linear"), base_filters=4, depth=depth)
    network(pictures(2, 32, 32, seed=9), training=True)
    step, margin = 2**depth, geometry_of(network)[0]
    size = -(-(2 * margin + 8) // step) * step
    whole = pictures(1, size + 8 * step, size + 5 * step)
    whole[:, -4 * step :] *= 50  # what a statistic of the whole would see
    top, left = 3 * step, 2 * step  # on the grid on which the network pools
    of_whole = network(whole).numpy()[:, top : top + size, left : left + size]
    of_crop = network(whole[:, top : top + size, left : left + size]).numpy()
    inside = np.s_[:, margin : size - margin, margin : size - margin]
    np.testing.assert_allclose(of_crop[inside], of_whole[inside], rtol=1e-5, atol=1e-5)
    assert not np.allclose(of_crop, of_whole, atol=1e-2)


def test_gradients_reach_every_kernel():
    network = build_unet(("sigmoid", "linear"), base_filters=4, depth=2, dropout=0.0)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(tf.square(network(pictures(2, 16, 16), training=True) - 3))
    for variable, gradient in zip(
        network.trainable_variables,
        tape.gradient(value, [variable.value for variable in network.trainable_variables]),
        strict=True,
    ):
        assert gradient is not None and np.isfinite(gradient).all() and np.any(gradient), variable.path

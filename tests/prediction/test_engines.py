import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from segmentation.bundle import load_bundle, write_bundle
from segmentation.prediction import engines
from segmentation.prediction.engines import (
    EngineError,
    StoppableEngine,
    Stopped,
    gains_from_bf16,
    open_engine,
)
from segmentation.prediction.tiling import predict_batch
from tests.prediction.tiny_model import DIVISOR, RADIUS, write_tiny_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def noise(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_openvino_is_the_default_and_states_its_precision(bundle):
    engine = open_engine(bundle)
    assert (engine.name, engine.precision) == ("openvino", "f32")
    assert engine.version[0].isdigit()


def test_openvino_comes_without_its_converter_and_the_converter_later(bundle):
    """It takes longer to import than all else of OpenVINO, and loads a module that reports to its makers."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from segmentation.bundle import load_bundle\n"
        "from segmentation.prediction.engines import open_engine\n"
        f"open_engine(load_bundle(Path({str(bundle.folder)!r})))\n"
        "assert 'openvino' in sys.modules\n"
        "assert not {'openvino.tools.ovc', 'openvino_telemetry'} & sys.modules.keys()\n"
        "from openvino.tools.ovc import convert_model\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_interrupt_after_another_thread_let_go_of_a_model_is_no_crash(bundle):
    """napari calls from threads of its own, and a notebook's kernel is interrupted with SIGINT."""
    code = (
        "import signal, threading\n"
        "from pathlib import Path\n"
        "from segmentation.bundle import load_bundle\n"
        "from segmentation.prediction.engines import open_engine\n"
        f"kept = [open_engine(load_bundle(Path({str(bundle.folder)!r})))]\n"
        "thread = threading.Thread(target=kept.clear)\n"
        "thread.start()\n"
        "thread.join()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert result.stdout == "interrupted\n"


def test_first_calls_at_once_do_not_wait_for_each_other_for_ever(bundle):
    """OpenVINO hung in every second of such processes."""
    code = (
        "import sys, threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from segmentation.bundle import load_bundle\n"
        "from segmentation.prediction.engines import open_engine\n"
        "sys.setswitchinterval(1e-6)\n"
        f"engine = open_engine(load_bundle(Path({str(bundle.folder)!r})), streams=4)\n"
        "together = threading.Barrier(4)\n"
        "def call(tiles):\n"
        "    together.wait()\n"
        "    return engine(tiles)\n"
        "with ThreadPoolExecutor(4) as streams:\n"
        "    list(streams.map(call, 4 * [np.zeros((1, 32, 32, 3), np.float32)]))\n"
    )
    for _ in range(6):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_batches_of_any_size_and_shape(bundle):
    engine = open_engine(bundle)
    for shape in [(1, 2, 2, 3), (3, 16, 40, 3), (2, 8, 8, 3), (3, 16, 40, 3)]:
        output = engine(noise(*shape))
        assert output.shape == (*shape[:3], 4)
        assert output.dtype == np.float32


def test_an_output_is_not_overwritten_by_the_next_call(bundle):
    engine = open_engine(bundle)
    first = engine(noise(1, 8, 8, 3))
    kept = first.copy()
    engine(1 - noise(1, 8, 8, 3))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(("streams", "images"), [(1, 4), (2, 2), (3, 2), (4, 1)])
def test_a_call_is_for_one_image_of_256_pixels_a_core(bundle, monkeypatch, streams, images):
    monkeypatch.setattr(engines, "available_cores", lambda: 4)
    assert open_engine(bundle, streams=streams).batch_pixels == images * 256 * 256


def test_no_call_is_for_more_than_the_largest_tile(bundle, monkeypatch):
    monkeypatch.setattr(engines, "available_cores", lambda: 64)
    assert open_engine(bundle).batch_pixels == engines.LARGEST_TILE


@pytest.mark.parametrize("streams", [2, 3])
def test_callers_at_once_get_what_one_alone_gets(bundle, streams):
    tiles = [np.roll(noise(1 + index % 3, 32, 48, 3), 5 * index, axis=2) for index in range(24)]
    alone = open_engine(bundle)
    shared = open_engine(bundle, streams=streams)
    assert (alone.streams, shared.streams) == (1, streams)
    expected = [alone(each) for each in tiles]
    with ThreadPoolExecutor(2 * streams) as pool:  # some wait
        for output, one in zip(pool.map(shared, tiles), expected, strict=True):
            np.testing.assert_allclose(output, one, atol=1e-5)


def test_another_number_of_callers_gets_the_same(bundle):
    shared = open_engine(bundle, streams=2)
    alone = shared.with_streams(1)
    assert (alone.streams, alone.precision) == (1, shared.precision)
    np.testing.assert_allclose(alone(noise(1, 32, 48, 3)), shared(noise(1, 32, 48, 3)), atol=1e-5)
    assert shared.with_streams(2) is shared, "not compiled again"


def test_a_stopped_engine_answers_no_more(bundle):
    inner = open_engine(bundle, streams=2)
    engine = StoppableEngine(inner)
    assert (engine.name, engine.precision, engine.version, engine.streams) == ("openvino", "f32", inner.version, 2)
    np.testing.assert_array_equal(engine(noise(1, 8, 8, 3)), inner(noise(1, 8, 8, 3)))
    engine.stop()
    with pytest.raises(Stopped):
        engine(noise(1, 8, 8, 3))
    assert engine.with_streams(2) is inner, "which goes on for others"


def test_tiles_that_are_views_are_read_right(bundle):
    engine = open_engine(bundle)
    image = noise(32, 40, 3)
    np.testing.assert_array_equal(engine(image[None, 8:24, 10:30]), engine(image[None, 8:24, 10:30].copy()))


def test_tiled_equals_whole_with_an_object_on_every_seam(bundle):
    engine = open_engine(bundle)
    image = 0.2 * noise(150, 170, 3)
    image[::7, :] = 1
    image[:, ::9] = 1
    whole = predict_batch(engine, [image], DIVISOR, RADIUS)[0]
    tiled = predict_batch(engine, [image], DIVISOR, RADIUS, largest_tile=30 * 30)[0]
    assert whole[..., 0].max() - whole[..., 0].min() > 0.1
    np.testing.assert_allclose(tiled, whole, atol=1e-3)


def test_bf16_on_request_is_stated_or_refused(bundle):
    try:
        engine = open_engine(bundle, precision="bf16")
    except EngineError as error:
        assert "--precision f32" in str(error)
    else:
        assert engine.precision == "bf16"


@pytest.mark.parametrize(
    ("validated", "gains", "expected"),
    [({"f32": {}}, True, "f32"), ({"f32": {}, "bf16": {}}, False, "f32"), ({"f32": {}, "bf16": {}}, True, "bf16")],
)
def test_bf16_is_chosen_only_where_it_is_validated_and_gains(tmp_path, monkeypatch, validated, gains, expected):
    class OpenVINO:
        def __init__(self, file, precision, streams):
            self.precision, self.channels = precision, (3, 4)

    monkeypatch.setattr(engines, "gains_from_bf16", lambda: gains)
    monkeypatch.setattr(engines, "OpenVINOEngine", OpenVINO)
    assert open_engine(write_tiny_bundle(tmp_path / "tiny", precisions=validated)).precision == expected


def test_unknown_names_are_refused(bundle):
    with pytest.raises(ValueError, match="engine must be one of"):
        open_engine(bundle, "torch")
    with pytest.raises(ValueError, match="precision must be one of"):
        open_engine(bundle, precision="int8")
    with pytest.raises(EngineError, match="f32 only"):
        open_engine(bundle, "keras", "bf16")


def test_without_the_library_the_sentence_says_what_to_install(bundle, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(EngineError, match="requirements-predict"):
        open_engine(bundle)


def test_gains_from_bf16_answers():
    assert gains_from_bf16() in (True, False)


def test_keras_gives_what_openvino_gives(tmp_path):
    keras = pytest.importorskip("keras")
    bundle = write_tiny_bundle(tmp_path / "tiny")
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", dtype="mixed_bfloat16")(image)
    x = keras.layers.Conv2D(4, 3, padding="same", dtype="mixed_bfloat16")(x)
    model = keras.Model(image, keras.layers.Activation("sigmoid", dtype="float32")(x))
    model.save(bundle.folder / "model.keras")
    keras_engine = open_engine(bundle, "keras")
    assert (keras_engine.name, keras_engine.precision, keras_engine.streams) == ("keras", "f32", 1)

    reference = keras.saving.load_model(bundle.folder / "model.keras", compile=False)
    for layer in reference.layers:
        layer.dtype_policy = keras.DTypePolicy("float32")
    reference.export(str(bundle.folder / "model.xml"), format="openvino", verbose=False)
    openvino_engine = open_engine(bundle, "openvino")
    tiles = noise(2, 32, 48, 3)
    np.testing.assert_allclose(keras_engine(tiles), openvino_engine(tiles), atol=1e-5)
    assert abs(keras_engine(tiles) - model.predict_on_batch(tiles)).max() > 1e-4, "bfloat16 would be this far off"


@pytest.mark.parametrize("name", ["openvino", "keras"])
def test_a_network_of_other_channels_than_its_bundle_says_is_refused(bundle, name, tmp_path):
    other = replace(bundle, targets="foreground")
    if name == "keras":
        keras = pytest.importorskip("keras")
        other = write_tiny_bundle(tmp_path / "tiny")
        keras.Sequential([keras.layers.Input((None, None, 3)), keras.layers.Conv2D(1, 1)]).save(
            tmp_path / "tiny" / "model.keras"
        )
        write_bundle(other)
    with pytest.raises(EngineError, match=r"inputs and outputs of \(3, \d\) channels, where \(3, \d\) were expected"):
        open_engine(load_bundle(other.folder) if name == "keras" else other, name)

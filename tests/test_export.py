import sys

import numpy as np
import pytest

from segmentation import export
from segmentation.bundle import load_bundle, load_network
from segmentation.paths import released_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(released_model())


def test_onnx_gives_what_keras_gives_at_any_size(bundle, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    file = tmp_path / "nuclei.onnx"
    assert export.main([str(bundle.folder), "--format", "onnx", "--output", str(file)]) == 0
    onnx.checker.check_model(onnx.load(file))
    session, network = runtime.InferenceSession(file), load_network(bundle.folder)
    for shape in ((1, 64, 64, 3), (2, 80, 144, 3), (1, 272, 256, 3)):
        images = np.random.default_rng(0).random(shape, np.float32)
        (channels,) = session.run(None, {session.get_inputs()[0].name: images})
        np.testing.assert_allclose(channels, np.asarray(network(images)), atol=1e-4)


def test_the_package_passes_the_test_of_bioimageio(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # its import would leave another one to the tests that follow
    core = pytest.importorskip("bioimageio.core")
    file = tmp_path / "nuclei.zip"
    assert export.main([str(bundle.folder), "--format", "bioimageio", "--output", str(file)]) == 0
    summary = core.test_description(file, expected_type="model")
    assert summary.status == "passed", summary.format()
    description = core.load_model_description(file)
    assert description.inputs[0].test_tensor.source.suffix == ".npy"
    assert [weights for weights, entry in description.weights if entry] == ["keras_v3", "onnx"]


@pytest.mark.parametrize(("name", "package"), [("onnx", "tf2onnx"), ("bioimageio", "bioimageio.spec")])
def test_a_package_that_is_missing_is_named(bundle, tmp_path, monkeypatch, capsys, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    file = tmp_path / f"nuclei{'.onnx' if name == 'onnx' else '.zip'}"
    assert export.main([str(bundle.folder), "--format", name, "--output", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"export: the package {package} is not installed; run: pip install" in error
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(tmp_path, capsys):
    assert export.main([str(tmp_path), "--format", "onnx", "--output", str(tmp_path / "nuclei.onnx")]) == 2
    with pytest.raises(SystemExit):
        export.main([str(released_model()), "--format", "onnx", "--output", str(tmp_path / "nuclei.zip")])
    assert "where a file with the suffix .onnx was expected" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

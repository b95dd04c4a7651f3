import json
import shutil
import subprocess
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


@pytest.mark.parametrize(("name", "suffix"), [("onnx", ".onnx"), ("bioimageio", ".zip")])
def test_a_model_that_names_no_tensorflow_is_written_without_a_warning(bundle, tmp_path, name, suffix):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("bioimageio.spec" if name == "bioimageio" else "onnx")
    shutil.copytree(bundle.folder, tmp_path / "model")
    description = json.loads((tmp_path / "model/bundle.json").read_text())
    description["libraries"] = {"keras": "3.0.0"}
    (tmp_path / "model/bundle.json").write_text(json.dumps(description))
    file = tmp_path / f"nuclei{suffix}"
    command = [sys.executable, "-m", "segmentation.export", tmp_path / "model", "--format", name, "--output", file]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"wrote {file}\n", "")


def test_an_output_that_cannot_be_written_is_named(bundle, tmp_path, capsys):
    pytest.importorskip("tf2onnx")
    (tmp_path / "taken.onnx").mkdir()
    (tmp_path / "file").touch()
    for file, why in ((tmp_path / "taken.onnx", "Is a directory"), (tmp_path / "file/nuclei.onnx", "Not a directory")):
        assert export.main([str(bundle.folder), "--format", "onnx", "--output", str(file)]) == 2
        assert capsys.readouterr().err == f"export: {file} cannot be written ({why})\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.onnx"]

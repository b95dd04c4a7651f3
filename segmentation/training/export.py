"""Write a trained network as the two files that prediction reads."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import keras


def export_model(network: keras.Model, folder: Path) -> None:
    """Write ``model.keras``, ``model.xml`` and ``model.bin`` into a folder.

    ``model.keras`` holds the network alone, without loss and optimiser, and loads in Keras' safe mode. The other two
    are the same network for OpenVINO, with its weights in half precision: half the size, and no measurable difference.

    Parameters
    ----------
    network : keras.Model
        From `segmentation.network.unet.build_unet`, not compiled, of Keras' own layers alone.
    folder : Path
        Exists; files of the same names are replaced.
    """
    partial = folder / ".part.model.keras"
    network.save(partial)
    os.replace(partial, folder / "model.keras")
    if keras.backend.backend() == "tensorflow":
        _write_openvino(network, folder)
    else:
        # Keras converts by way of TensorFlow, which takes a process of its own.
        command = [sys.executable, "-m", "segmentation.training.export", str(folder)]
        subprocess.run(command, check=True, env=os.environ | {"KERAS_BACKEND": "tensorflow"})


def _write_openvino(network: keras.Model, folder: Path) -> None:
    import openvino

    with _without_telemetry(), tempfile.TemporaryDirectory(dir=folder) as partial:
        exported = os.path.join(partial, "exported.xml")
        network.export(exported, format="openvino", verbose=False)
        converted = openvino.Core().read_model(exported)
        openvino.save_model(converted, os.path.join(partial, "model.xml"), compress_to_fp16=True)
        for name in ("model.xml", "model.bin"):
            os.replace(os.path.join(partial, name), folder / name)


@contextmanager
def _without_telemetry():
    """Keep OpenVINO's converter from reporting each conversion to its makers: it does so anywhere but in a CI job."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        del os.environ["CI"]
        if before is not None:
            os.environ["CI"] = before


if __name__ == "__main__":
    given = Path(sys.argv[1])
    _write_openvino(keras.saving.load_model(given / "model.keras", compile=False), given)

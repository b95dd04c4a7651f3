"""Several devices and hosts against one, in processes of their own: the same losses at each step."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from segmentation.data.splits import SplitRow
from segmentation.training.arguments import parse_arguments
from segmentation.training.devices import Devices, join_hosts
from segmentation.training.errors import TrainingError
from segmentation.training.resume import Run
from segmentation.training.sequence import CenterCrops, NucleiSequence

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = "--crop-size 32 --batch-size 4 --base-filters 4 --depth 2 --dropout 0 --seed 3".split()
jax_only = pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")

# train.py with so many devices, which prints the loss of each step, and writes no model.
CODE = """
import os, sys
if __name__ == "__main__":
    sys.argv[0], devices = "train.py", int(sys.argv.pop(1))
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    import train
    from segmentation.training import callbacks, export

    def show(self, batch, logs=None):
        print("step", logs["loss"], flush=True)

    figures = dict.fromkeys(("dice", "iou", "ap50", "mean_ap", "bowl"), {"value": 0.5})
    export.save_model = lambda model, run, data: run.finish() or (run.history, {"figures": figures})
    callbacks.Stopwatch.on_train_batch_end = show
    sys.exit(train.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_drawn):
    """Eight drawn images; three to validate on, which two devices cannot share evenly."""
    folder = tmp_path_factory.mktemp("data")
    names = sorted(write_drawn(folder / "drawn", 8))
    rows = [f"{name},{'train' if n < 5 else 'val'}\n" for n, name in enumerate(names)]
    (folder / "split.csv").write_text("id,subset\n" + "".join(rows))
    (folder / "code.py").write_text(CODE)
    return folder


@pytest.fixture(scope="module")
def start(data):
    def start(backend, *arguments, devices=1):
        environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, data / "code.py", str(devices), *map(str, arguments), *SETTINGS],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def new(data):
    return ["--data", data / "drawn", "--split", data / "split.csv"]


def on_loopback():
    """Arguments of two hosts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return [["--hosts", f"127.0.0.1:{port},127.0.0.1:{port + 1}", "--host-index", n] for n in (0, 1)]


def losses(output):
    """The loss of each step, of the means since the begin of the epoch."""
    means = np.array([float(line.split()[1]) for line in output.splitlines() if line.startswith("step")]).reshape(
        -1, 16
    )
    return np.diff(means * np.arange(1, 17), prepend=0)


def history(folder):
    table = pd.read_csv(folder / "checkpoint" / "history.csv")
    return table[["loss", "crop_dice", "val_loss", "val_crop_dice", "learning_rate_used"]].to_numpy()


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")
def test_two_devices_of_tensorflow_train_as_one(tmp_path, start, new):
    found = []
    for devices in (1, 2):
        folder = tmp_path / f"{devices}"
        output = finish(start("tensorflow", *new, "--output", folder, "--epochs", 2, devices=devices))
        found.append((losses(output), history(folder)))
    assert found[0][0].shape == (2, 16)
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-3)
    # In validation the two differ a little more: the fused normalisation, of one device, has the unbiased variance.
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=2e-3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, start, new):
    """Two epochs of JAX in one process: losses and history."""
    folder = tmp_path_factory.mktemp("alone")
    output = finish(start("jax", *new, "--output", folder, "--epochs", 2))
    return losses(output), history(folder)


@jax_only
def test_two_processes_of_jax_train_as_one(tmp_path, start, new, alone):
    hosts = [start("jax", *new, "--output", tmp_path, "--epochs", 2, "--workers", n + 1, *host)
             for n, host in enumerate(on_loopback())]  # fmt: skip
    outputs = [finish(host) for host in hosts]
    for output in outputs:
        np.testing.assert_allclose(losses(output), alone[0], atol=1e-3)
    np.testing.assert_allclose(history(tmp_path), alone[1], atol=1e-3)
    assert "next:" in outputs[0] and "next:" not in outputs[1]


@jax_only
@pytest.mark.parametrize("killed", [0, 1])
def test_one_process_killed_ends_the_other_and_both_go_on(tmp_path, start, new, alone, killed):
    folder = tmp_path / "m"
    hosts = [start("jax", *new, "--output", folder, "--epochs", 2, *host) for host in on_loopback()]
    state = folder / "checkpoint" / "state.json"
    deadline = time.monotonic() + 200
    while not state.exists():
        assert time.monotonic() < deadline and all(host.poll() is None for host in hosts)
        time.sleep(0.01)
    hosts[killed].send_signal(signal.SIGKILL)
    _, errors = hosts[1 - killed].communicate(timeout=150)
    hosts[killed].communicate()
    assert hosts[1 - killed].returncode == 2, errors
    assert "another host has ended or cannot be reached" in errors and "Traceback" not in errors, errors
    assert json.loads(state.read_text())["epochs_done"] == 1
    resumed = [start("jax", "--output", folder, "--resume", *host) for host in on_loopback()]
    for output in map(finish, resumed):
        np.testing.assert_allclose(losses(output), alone[0][1:], atol=1e-3)
    np.testing.assert_allclose(history(folder), alone[1], atol=1e-3)


@jax_only
def test_hosts_that_differ_are_refused(tmp_path, start, new):
    hosts = [start("jax", *new, "--output", tmp_path / "m", "--epochs", n + 1, *host)
             for n, host in enumerate(on_loopback())]  # fmt: skip
    for host in hosts:
        _, errors = host.communicate(timeout=150)
        assert host.returncode == 2 and "Traceback" not in errors
        assert "the hosts differ in settings" in errors or "another host has ended" in errors
    assert not (tmp_path / "m").exists()


# Without other processes


def test_parts_of_the_hosts_are_the_batch(drawn_images):
    settings = {"batch_size": 4, "crop_size": 32, "seed": 1}
    whole = NucleiSequence(drawn_images, "foreground", **settings)
    parts = [NucleiSequence(drawn_images, "foreground", **settings, devices=Devices(n, 2, 2)) for n in range(2)]
    for index in (0, 5):
        for ours, *theirs in zip(whole[index], *(part[index] for part in parts), strict=True):
            np.testing.assert_array_equal(ours, np.concatenate(theirs))


@pytest.mark.parametrize(("hosts", "count", "batch_size"), [(1, 2, 2), (1, 3, 6), (2, 4, 4), (2, 2, 6)])
def test_validation_has_each_image_once_and_a_mean_over_all(drawn_images, hosts, count, batch_size):
    images = drawn_images.select(dict.fromkeys(drawn_images.ids[:7], SplitRow("val")))
    whole = CenterCrops(images, "foreground", batch_size=7, crop_size=32)[0]
    parts = [
        CenterCrops(images, "foreground", batch_size=batch_size, crop_size=32, devices=Devices(n, hosts, count))
        for n in range(hosts)
    ]
    batches = [[np.concatenate(arrays) for arrays in zip(*(part[i] for part in parts), strict=True)]
               for i in range(len(parts[0]))]  # fmt: skip
    assert all(len(weights) % count == 0 for _, _, weights in batches)
    weights = np.concatenate([weights for _, _, weights in batches])
    for place, array in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([batch[place] for batch in batches])[weights > 0], array)
    # As Keras does it: the mean over a batch, and the mean of those in proportion to their sizes.
    assert weights.sum() / len(weights) == pytest.approx(1) and len(set(weights[weights > 0])) == 1


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("segmentation.training.devices._find", lambda host, hosts: Devices(0, 1, 3))
    with pytest.raises(TrainingError, match="8 crops cannot be shared evenly by 3 devices: give a --batch-size"):
        join_hosts(Run(tmp_path), "digest", None, None)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="which can")
@pytest.mark.parametrize("slurm", [False, True])
def test_several_hosts_need_jax(tmp_path, monkeypatch, slurm):
    if slurm:
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
        monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(TrainingError, match="2 hosts train together with JAX.*set KERAS_BACKEND=jax"):
        join_hosts(Run(tmp_path), "digest", None if slurm else ["a:1", "b:1"], None if slurm else 0)


def test_what_a_host_waits_for_is_said_before_it_waits(tmp_path, monkeypatch, capsys):
    def meet(*_):
        raise RuntimeError(capsys.readouterr().err)

    fake = ModuleType("jax")
    fake.distributed, fake.experimental = SimpleNamespace(initialize=meet), ModuleType("jax.experimental")
    fake.experimental.multihost_utils = None
    monkeypatch.setitem(sys.modules, "jax", fake)
    monkeypatch.setitem(sys.modules, "jax.experimental", fake.experimental)
    monkeypatch.setattr("segmentation.training.devices._say_why_before_abort", lambda: None)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(TrainingError, match="host 0 of 2 waits up to five minutes for the others at here:1"):
        join_hosts(Run(tmp_path), "digest", ["here:1", "there:1"], 0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--hosts", "a:1,b:1"], "--hosts and --host-index are given together"),
        (["--host-index", "0"], "--hosts and --host-index are given together"),
        (["--hosts", "a:1,b", "--host-index", "0"], "expected HOST:PORT,HOST:PORT,..., got 'b'"),
        (["--hosts", "a:1,b:1", "--host-index", "2"], "expected 0 to 1 for 2 hosts"),
        (["--hosts", "a:1,b:1", "--host-index", "0", "--time-limit", "9"], "each host has its own clock"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, expected, capsys):
    with pytest.raises(SystemExit):
        parse_arguments("Train.", arguments)
    assert expected in " ".join(capsys.readouterr().err.split())

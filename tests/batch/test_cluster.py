"""A call on a Dask cluster of real processes leaves what the same call leaves without, whatever is killed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmentation.atomic import is_unfinished
from segmentation.batch.folder import predict_folder
from segmentation.batch.inputs import find_inputs
from segmentation.batch.recipe import Recipe
from segmentation.results.formats import open_outputs
from tests.batch.test_folder import contents, draw
from tests.prediction.tiny_model import write_tiny_bundle

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEADLINE = 120


class Cluster:
    """A scheduler and workers as processes of their own."""

    def __init__(self, folder, stack, path=ROOT):
        self.folder, self.stack, self.file = folder, stack, folder / "scheduler.json"
        arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)]
        self.scheduler = self.start("dask_scheduler", *arguments, path=path)
        wait_for(self.file.exists)

    def start(self, program, *arguments, path=ROOT):
        environment = os.environ | {"PYTHONPATH": str(path), "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "2s"}
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def worker(self, **options):
        """Start a worker of one thread, without a nanny that would start it again."""
        place = "--scheduler-file", str(self.file), "--host", "127.0.0.1"
        return self.start("dask_worker", *place, "--nthreads", "1", "--no-nanny", "--no-dashboard", **options)


def wait_for(condition, process=None):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        assert process is None or process.poll() is None, "it ended too early"
        time.sleep(0.02)


@pytest.fixture
def cluster(tmp_path):
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Small images, one that is broken, and a slide of four blocks; and a model."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "in").mkdir()
    for seed in range(60):
        draw(folder / "in" / f"cell{seed:02}.png", seed, (200 + seed % 3, 230))
    (folder / "in" / "broken.png").write_bytes(b"\x89PNG")
    write_slide(folder / "in" / "slide.zarr")
    write_tiny_bundle(folder / "model")
    return folder / "in"


@pytest.fixture
def out(images, request):
    """Where a test writes to; a call names it relative to the folder that it is made in."""
    return images.parent / re.sub(r"\W", "-", request.node.name)


def write_slide(folder, side=3000):
    import zarr

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 40, (side, side), dtype=np.uint8)
    for row in range(5, side, 97):
        for column in range(9, side, 83):
            height, width = rng.integers(10, 60, 2)
            pixels[row : row + height, column : column + width] = 200
    root = zarr.open_group(str(folder), mode="w", zarr_format=2)
    root.create_array("0", data=pixels[None, None, None], chunks=(1, 1, 1, 512, 512))
    axes = [{"name": name, "type": "space"} for name in "tczyx"]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]


def begin(images, output, *options):
    arguments = [images.name, "--output", output.name, "--model", "model", "--outputs", "masks", "labels", "table"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "predict_masks.py"), *arguments, "--diameter", "none", *options],
        cwd=images.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def go(images, output, *options):
    process = begin(images, output, *options)
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


def results(folder):
    """All that a call leaves but for timings, locks, and what killed workers had begun, which the next call removes."""
    return {
        name: content
        for name, content in contents(folder).items()
        if not name.endswith("lock") and not is_unfinished(Path(name))
    }


@pytest.fixture(scope="module")
def expected(images):
    status, _, err = go(images, images.parent / "expected")
    assert status == 1 and err.count("\n") == 2
    return results(images.parent / "expected")


def finished(output):
    return len(list((output / ".records").glob("[a-z]*.json")))


def test_the_same_bytes_and_nothing_again(images, cluster, expected, out):
    cluster.worker()
    cluster.worker()
    status, said, err = go(images, out, "--scheduler-file", cluster.file)
    assert status == 1 and "61 of 62 images done with openvino" in said
    assert err.count("\n") == 2 and "broken.png is " in err
    assert results(out) == expected
    assert not (out / ".records" / "slide.blocks").exists()
    address = re.search(r'"address": "(tcp://[^"]+)"', cluster.file.read_text())[1]
    status, said, _ = go(images, out, "--scheduler", address)
    assert "0 of 62 images done" in said and "61 were done before" in said
    assert results(out) == expected


@pytest.mark.parametrize("when", ["files", "blocks"])
def test_a_worker_that_is_killed_and_one_that_joins(images, cluster, expected, out, when):
    victim = cluster.worker()
    process = begin(images, out, "--scheduler-file", cluster.file)
    blocks = out / ".records" / "slide.blocks"
    wait_for(lambda: finished(out) > 9 if when == "files" else any(blocks.glob("?-?.npz")), process)
    victim.send_signal(signal.SIGKILL)
    cluster.worker()
    said, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1 and "1 failed" in said, "some may be done before, by the worker that was killed"
    assert results(out) == expected


def test_that_no_worker_is_left_is_said_and_a_new_one_goes_on(images, cluster, expected, out):
    worker = cluster.worker()
    process = begin(images, out, "--scheduler-file", cluster.file)
    wait_for(lambda: finished(out) > 9, process)
    worker.kill()
    lines = iter(process.stderr.readline, "")
    told = next(line for line in lines if "broken.png" not in line)
    assert told.startswith("No worker is left of the scheduler at tcp://127.0.0.1:")
    cluster.worker()
    said, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1 and "1 failed" in said
    assert results(out) == expected


def test_a_result_that_ends_with_its_worker_is_made_again(images, cluster, expected, out, monkeypatch):
    """The worker is killed when the first task is done, and before its result is fetched."""
    worker, told = cluster.worker(), []

    class WorkerEnds(distributed.as_completed):
        def __next__(self):
            future = super().__next__()
            if worker.poll() is None:
                worker.kill()
                worker.wait()
                wait_for(lambda: not future.client.nthreads())
            return future

    def warn(sentence):
        told.append(sentence)
        cluster.worker()

    from segmentation.batch.cluster import Cluster as Connection

    monkeypatch.setattr(distributed, "as_completed", WorkerEnds)
    monkeypatch.chdir(images.parent)
    how = {"diameter": None}
    recipe = Recipe(images.parent / "model", "auto", None, how, ("masks", "labels", "table"), open_outputs)
    predictor, outputs = recipe.open(1)
    recipe = replace(recipe, precision=predictor.engine.precision)
    inputs = find_inputs([Path(images.name)])
    with Connection(file=cluster.file, warn=warn) as run:
        run.prepare(inputs, Path(out.name), recipe, predictor.settings)
        outcomes = predict_folder(inputs, Path(out.name), predictor, outputs, run=run)
    assert len(told) == 1 and told[0].startswith("No worker is left")
    assert [outcome.status for outcome in outcomes].count("failed") == 1
    assert results(out) == expected


def test_a_scheduler_that_is_killed_is_one_sentence_and_the_call_goes_on_without(images, cluster, expected, out):
    worker = cluster.worker()
    process = begin(images, out, "--scheduler-file", cluster.file)
    wait_for(lambda: finished(out) > 9, process)
    cluster.scheduler.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=DEADLINE)
    worker.kill()  # it may be writing the image that it had begun
    worker.wait()
    assert process.returncode == 2
    assert re.fullmatch(
        r"(.*broken.png is .*\n)?predict_masks.py: The scheduler at .* is gone; the images .*\n", err
    ), err
    done = finished(out)
    status, said, _ = go(images, out)
    assert status == 1 and int(re.search(r"(\d+) were done before", said)[1]) >= done > 9
    assert results(out) == expected


def test_an_interrupt_cancels_and_the_call_goes_on(images, cluster, expected, out):
    cluster.worker()
    process = begin(images, out, "--scheduler-file", cluster.file)
    wait_for(lambda: finished(out) > 9, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130 and "Interrupted" in err and "Traceback" not in err
    assert go(images, out, "--scheduler-file", cluster.file)[0] == 1
    assert results(out) == expected


def test_what_cannot_work_is_one_sentence_before_anything_begins(images, cluster, tmp_path):
    assert "none.json names no scheduler; expected a file" in refused(images, "--scheduler-file", "none.json")
    assert "Expected the address of a scheduler" in refused(images, "--scheduler", "nowhere")
    assert "There is no scheduler at tcp://127.0.0.1:9;" in refused(images, "--scheduler", "tcp://127.0.0.1:9")
    shutil.copytree(ROOT / "segmentation", tmp_path / "other" / "segmentation")
    with (tmp_path / "other" / "segmentation" / "atomic.py").open("a") as code:
        code.write("# changed\n")
    other = cluster.worker(path=tmp_path / "other")
    assert "has another version of this code; install the same" in refused(images, "--scheduler-file", cluster.file)
    other.kill()


def test_a_scheduler_without_this_code_is_one_sentence(images, tmp_path):
    with ExitStack() as stack:
        cluster = Cluster(tmp_path, stack, path=tmp_path)
        cluster.worker()
        assert "The scheduler has no nuclei-segmentation; install" in refused(images, "--scheduler-file", cluster.file)


def test_one_that_does_not_answer_is_one_sentence(monkeypatch):
    from segmentation.batch import cluster

    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(cluster.ClusterError, match=f"There is no scheduler at {address};"):
            cluster.Cluster(address)


def test_a_call_that_is_killed_leaves_nothing_on_the_workers_for_the_next_one(images, cluster, expected, out, tmp_path):
    """Neither its network, nor the folder that its relative paths were in."""
    cluster.worker()
    for name in "in", "model":
        (tmp_path / name).symlink_to(images.parent / name)
    killed = begin(tmp_path / "in", tmp_path / "out", "--scheduler-file", cluster.file)
    wait_for(lambda: finished(tmp_path / "out") > 9, killed)
    killed.kill()
    killed.communicate()
    status, said, err = go(images, out, "--scheduler-file", cluster.file)
    assert status == 1 and "61 of 62 images done" in said, err
    assert results(out) == expected
    with distributed.Client(scheduler_file=str(cluster.file), set_as_default=False) as client:
        left = client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.worker_plugins])
        left += [*client.run(lambda dask_worker: [*dask_worker.plugins]).values()][0]
    assert not [name for name in left if name.startswith("nuclei-segmentation")]


def refused(images, *options):
    status, out, err = go(images, images.parent / "refused", *options)
    assert status == 2 and not out and err.count("\n") == 1 and "Traceback" not in err, err
    assert not (images.parent / "refused").exists()
    return err

"""Processes that draw batches: the same batches as without them, and what is left when something ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segmentation.training.augmentation import Augmentation
from segmentation.training.batches import CropBatches
from segmentation.training.errors import TrainingError
from segmentation.training.workers import WorkerProcesses

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
linux_only = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def batches(drawn_images):
    return CropBatches(drawn_images, "centre_offsets", Augmentation(32), batch_size=2, seed=5)


@pytest.fixture(scope="module")
def processes(batches):
    processes = WorkerProcesses(batches, 2)
    yield processes
    processes.close()


def assert_same(batches, drawn, epoch, index):
    for ours, theirs in zip(drawn, batches.draw(epoch, index), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def is_alive(number):
    """Whether a process runs; one that has ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_epoch_after_epoch_in_order(batches, processes):
    for epoch in (0, 1):
        for index in range(len(batches)):
            assert_same(batches, processes.draw(epoch, index), epoch, index)


@pytest.mark.parametrize(
    "order", [[(0, 0), (0, 0), (0, 1)], [(3, 15), (4, 0), (9, 2), (0, 3), (0, 2), (0, 15), (2, 0)]]
)
def test_in_any_order(batches, processes, order):
    for epoch, index in order:
        assert_same(batches, processes.draw(epoch, index), epoch, index)


def test_a_batch_stays_as_it_is_when_others_follow(batches, processes):
    first = processes.draw(0, 0)
    for index in range(1, 10):
        processes.draw(0, index)
    assert_same(batches, first, 0, 0)


def test_images_that_are_in_no_file_are_sent(in_memory):
    rng = np.random.default_rng(0)
    pictures = [(rng.integers(256, size=(40, 50, 3), dtype=np.uint8), np.eye(40, 50, dtype=int), "a") for _ in range(3)]
    batches = CropBatches(in_memory(pictures), "foreground", Augmentation(16), batch_size=4, seed=1)
    processes = WorkerProcesses(batches, 1)
    assert_same(batches, processes.draw(2, 1), 2, 1)
    processes.close()


@linux_only
def test_images_of_a_cache_are_mapped_not_copied(batches, processes):
    processes.draw(0, 0)
    files = {str(file.resolve()) for file in batches.images._files}
    for process in processes._processes:
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
        assert all(file in mapped for file in files)


class Broken:
    def __call__(self, pixels, label_map, rng):
        if os.getpid() != int(os.environ["TRAINING"]):
            raise KeyError("broken")
        return pixels[:16, :16], label_map[:16, :16]


def test_what_an_augmentation_raises_is_raised_here(tmp_path, drawn_images, monkeypatch):
    monkeypatch.setenv("TRAINING", str(os.getpid()))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_augmentation.py").write_text(Path(__file__).read_text())
    from broken_augmentation import Broken  # of a module that the other process can import

    processes = WorkerProcesses(CropBatches(drawn_images, "foreground", Broken(), 2, 0), 1)
    with pytest.raises(KeyError, match="broken") as raised:
        processes.draw(0, 0)
    assert 'raise KeyError("broken")' in raised.value.__notes__[0]
    processes.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_said(batches, number):
    processes = WorkerProcesses(batches, 2)
    processes.draw(0, 0)
    os.kill(processes._processes[1].pid, number)
    with pytest.raises(TrainingError, match=rf"has ended with {number.name}.*resume the training with --resume"):
        for index in range(1, 16):
            processes.draw(0, index)
    processes.close()


def test_a_process_that_dies_as_it_starts_is_said(tmp_path):
    """Before it has read what to draw from, which is more than a pipe holds."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "import numpy as np\n"
        "from segmentation.data.cache import CachedImages\n"
        "from segmentation.training.augmentation import Augmentation\n"
        "from segmentation.training.batches import CropBatches\n"
        "from segmentation.training.errors import TrainingError\n"
        "from segmentation.training.workers import WorkerProcesses\n"
        "if __name__ == '__main__':\n"
        "    images = CachedImages.from_arrays([np.eye(400, dtype=np.uint8)], [np.eye(400, dtype=int)])\n"
        "    try:\n"
        "        WorkerProcesses(CropBatches(images, 'foreground', Augmentation(32), 2, 0), 2).draw(0, 0)\n"
        "    except TrainingError as error:\n"
        "        print(error)\n"
        "else:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True, timeout=60)
    assert said.returncode == 0 and "has ended with SIGKILL" in said.stdout


@linux_only
def test_nothing_is_left(batches):
    before = set(os.listdir("/dev/shm")), set(os.listdir("/proc/self/fd"))
    processes = WorkerProcesses(batches, 2)
    processes.draw(0, 0)
    numbers = [process.pid for process in processes._processes]
    assert set(os.listdir("/dev/shm")) == before[0], "memory without a name, so that no kill leaves any"
    processes.close()
    assert not any(map(is_alive, numbers))
    del processes
    assert len(set(os.listdir("/proc/self/fd")) - before[1]) <= 3  # of multiprocessing itself


@linux_only
@pytest.mark.parametrize("how", ["exit", "kill", "Ctrl-C"])
def test_processes_end_with_the_training_however_it_ends(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "import numpy as np\n"
        "from segmentation.data.cache import CachedImages\n"
        "from segmentation.training.augmentation import Augmentation\n"
        "from segmentation.training.batches import CropBatches\n"
        "from segmentation.training.workers import WorkerProcesses\n"
        "if __name__ == '__main__':\n"
        "    images = CachedImages.from_arrays([np.eye(40, dtype=np.uint8)], [np.eye(40, dtype=int)])\n"
        "    processes = WorkerProcesses(CropBatches(images, 'foreground', Augmentation(32), 2, 0), 2)\n"
        "    if sys.argv[1] != 'Ctrl-C':\n"
        "        processes.draw(0, 0)\n"
        "    print(*(process.pid for process in processes._processes), flush=True)\n"
        "    time.sleep(0 if sys.argv[1] == 'exit' else 60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, script, how], env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    numbers = list(map(int, process.stdout.readline().split()))
    assert len(numbers) == 2
    if how == "kill":
        process.kill()
    elif how == "Ctrl-C":  # in the middle of the imports of the new processes, to all at once
        os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    wait_until(lambda: not any(map(is_alive, numbers)))
    assert errors.count("Traceback") == (how == "Ctrl-C"), errors  # of the script itself

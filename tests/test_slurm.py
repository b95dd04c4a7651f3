"""The commands of docs/cluster.md on a real Slurm: one node on loopback, started here and stopped at the end."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.batch.test_cluster import results
from tests.batch.test_folder import draw
from tests.prediction.tiny_model import write_tiny_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROGRAMS = "munged", "slurmctld", "slurmd", "sbatch", "squeue"
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def wait_for(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def slurm():
    """Start munge and Slurm with one node; give the environment in which its commands find it."""
    paths = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in PROGRAMS}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; on Debian: apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("slurmd starts jobs only as root")
    folder = Path(f"/tmp/slurm-{os.getpid()}")  # the path of a socket has at most 107 characters
    host = socket.gethostname().split(".")[0]
    with ExitStack() as stack:
        folder.mkdir(mode=0o755)
        stack.callback(shutil.rmtree, folder)
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, ports=free_ports(2), folder=folder))
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

        def start(*command):
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)

        names = {"key": "key", "pid": "pid", "log": "log", "seed": "seed"}
        files = [f"--{name}-file={folder}/munge.{suffix}" for name, suffix in names.items()]
        start(paths["munged"], "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
        wait_for((folder / "munge.socket").exists, "munge does not start")
        start(paths["slurmctld"], "-D")
        start(paths["slurmd"], "-D")

        def is_idle():
            found = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True)
            return found.stdout.strip() == "idle"

        try:
            wait_for(is_idle, "Slurm does not start", 60)
        except AssertionError:
            pytest.skip(f"Slurm does not start here: {(folder / 'slurmd.log').read_text()[-300:]}")
        yield environment


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "images").mkdir()
    for seed in range(24):
        draw(folder / "images" / f"cell{seed:02}.png", seed, (100, 130))
    write_tiny_bundle(folder / "model")
    return folder / "images"


@pytest.fixture(scope="module")
def expected(images):
    predict(images, "expected")
    return results(images.parent / "expected")


OPTIONS = "--outputs labels table --model model"


def predict(images, output, *options):
    command = [sys.executable, str(ROOT / "predict_masks.py"), "images", "--output", output, *OPTIONS.split(), *options]
    return subprocess.run(command, cwd=images.parent, capture_output=True, text=True, check=True)


def script(number, images, output):
    """A script of docs/cluster.md, with this environment, these images and small jobs."""
    text = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)[number]
    replaced = {
        "source .venv/bin/activate": f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={ROOT}",
        "predict_masks.py /shared/images": f"{ROOT}/predict_masks.py images {OPTIONS}",
        "/shared/results": output,
        "/shared/": f"{images.parent}/",
        "--mem=4G": "--mem=0",
        "--cpus-per-task=4": "--cpus-per-task=1",
        "--nthreads 4": "--nthreads 1",
    }
    for old, new in replaced.items():
        text = text.replace(old, new)
    file = images.parent / f"{output}.sh"
    file.write_text(text)
    return file


def submit(slurm, file, *options):
    """Submit a script and wait for it, as the documentation says; return what it printed."""
    command = ["sbatch", "--parsable", "--output=%x-%A-%a.out", f"--job-name={file.stem}", *options, file.name]
    job = subprocess.run(command, env=slurm, cwd=file.parent, capture_output=True, text=True, check=True).stdout.strip()

    def ended():
        left = subprocess.run(["squeue", "-h", "-j", job], env=slurm, capture_output=True, text=True).stdout.strip()
        return not left

    wait_for(ended, f"job {job} does not end", 300)
    return "\n".join(out.read_text() for out in sorted(file.parent.glob(f"{file.stem}-{job}-*.out")))


def test_a_job_array_of_shards(slurm, images, expected):
    said = submit(slurm, script(0, images, "array"), "--array=1-3")
    assert results(images.parent / "array") == expected, said
    assert len(list((images.parent / "array").glob("summary-*-of-3.json"))) == 3


def test_a_dask_cluster_in_a_job(slurm, images, expected):
    pytest.importorskip("distributed")
    said = submit(slurm, script(1, images, "dask"), "--ntasks=2")
    assert results(images.parent / "dask") == expected, said


def test_workers_that_dask_jobqueue_submits(slurm, images, expected):
    pytest.importorskip("dask_jobqueue")
    text = re.search(r"```python\n(from dask_jobqueue.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)[1]
    replaced = {
        '"/shared/images"': '"images", *OPTIONS',
        '"/shared/results"': '"jobqueue"',
        "/shared/": f"{images.parent}/",
        "cores=4": "cores=1",
        "4GB": "1GB",
        "jobs=8": "jobs=2",
    }
    for old, new in replaced.items():
        text = text.replace(old, new)
    code = f"OPTIONS = {OPTIONS.split()}\n{text}"
    environment = slurm | {"PYTHONPATH": str(ROOT), "DASK_JOBQUEUE__SLURM__JOB_MEM": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=images.parent, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr + "".join(f.read_text() for f in (images.parent / "logs").iterdir())
    assert results(images.parent / "jobqueue") == expected

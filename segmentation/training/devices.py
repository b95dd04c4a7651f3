"""The devices that share a training: one, all of this host, or those of several hosts."""

import atexit
import ctypes
import hashlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.distribution import DataParallel

from segmentation.command_line import write_line
from segmentation.training.errors import Interrupted, TrainingError
from segmentation.training.resume import Run

_LOST = (
    "another host has ended or cannot be reached. The first host keeps the state after the last whole epoch; resume "
    "the training on all hosts with --resume"
)

# Of all hosts but the first: for their copies of the state.
_own_folders: list[Path] = []


@dataclass(frozen=True)
class Devices:
    """All devices of a training; each has an equal part of every batch and the same weights.

    With TensorFlow they are those of this host, by `tf.distribute.MirroredStrategy`; with JAX those of all hosts, by
    `keras.distribution.DataParallel`. (TensorFlow's strategy for several hosts does not work with ``model.fit``, nor
    does Keras' distribution with TensorFlow: Keras 3.15.)

    Attributes
    ----------
    host, hosts : int
        Number of this host, from 0, and of all.
    count : int
        Devices of all hosts: GPUs, or without one CPUs.
    """

    host: int = 0
    hosts: int = 1
    count: int = 1
    _distribution: Any = None

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Build, compile and train a model for all devices; raise `TrainingError` when another host is lost."""
        with self._distribution.scope() if self._distribution else nullcontext():
            if self.hosts == 1:
                yield
                return
            try:
                yield
            except Exception as error:
                # What JAX raises when a host is lost has several types, and one of many texts with these names.
                lost = any(name in str(error) for name in ("Gloo", "NCCL", "coordination service"))
                ending = TrainingError(_LOST) if lost else error
                atexit.register(_exit, 128 + ending.signal_number if isinstance(ending, Interrupted) else 2)
                raise ending from error

    def sum_before_clipping(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """Make an optimizer clip the gradients of the whole batch.

        With TensorFlow, Keras 3.15 clips those of each device and then adds them up.
        """
        if self.count > 1 and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            clip = optimizer._clip_gradients
            optimizer._clip_gradients = lambda gradients: clip(
                tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            )
            optimizer._all_reduce_sum_gradients = list
        return optimizer

    def leave(self) -> bool:
        """Part from the other hosts, when the training has ended on all; return whether this is the first."""
        if self.hosts > 1:
            import jax

            jax.distributed.shutdown()
        return self.host == 0


ONE_DEVICE = Devices()


def join_hosts(run: Run, digest: str, addresses: list[str] | None, host: int | None) -> tuple[Run, Devices]:
    """Find the devices, and wait for the other hosts where there are several.

    The first host writes what is kept of the training. Every other one gets a copy of the state in a temporary folder.

    Parameters
    ----------
    run : Run
    digest : str
        Of the data, which must be the same on all hosts.
    addresses : list of str, optional
        ``host:port`` of each host; without them those of a Slurm step are found.
    host : int, optional
        Place of this host in the list.

    Raises
    ------
    TrainingError
        If the devices cannot share a batch evenly, the backend cannot use several hosts, or they do not meet or differ
        in settings or data.
    """
    hosts = len(addresses) if addresses else int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if hosts > 1:
        host = int(os.environ["SLURM_PROCID"]) if host is None else host
        if keras.backend.backend() != "jax":
            raise TrainingError(
                f"{hosts} hosts train together with JAX, and the backend is {keras.backend.backend()}: "
                "pip install jax, and set KERAS_BACKEND=jax"
            )
        if host:
            run = _with_own_folder(run)
        _meet(run, digest, addresses, hosts, host)
    devices = _find(host or 0, hosts)
    if run.config.batch_size % devices.count:
        raise TrainingError(
            f"a batch of {run.config.batch_size} crops cannot be shared evenly by {devices.count} devices: give a "
            f"--batch-size that is a multiple of {devices.count}, or use fewer (CUDA_VISIBLE_DEVICES=0)"
        )
    return run, devices


def _find(host: int, hosts: int) -> Devices:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Devices(host, hosts, len(found), tf.distribute.MirroredStrategy(found) if len(found) > 1 else None)
    count = len(keras.distribution.list_devices())
    return Devices(host, hosts, count, DataParallel(auto_shard_dataset=False) if count > 1 else None)


def _with_own_folder(run: Run) -> Run:
    folder = Path(tempfile.mkdtemp(prefix="nuclei-training-"))
    _own_folders.append(folder)
    atexit.register(_remove_own_folders)
    if run.checkpoint.exists():
        shutil.copytree(run.checkpoint, folder / "checkpoint")
    return replace(run, folder=folder)


def _meet(run: Run, digest: str, addresses: list[str] | None, hosts: int, host: int) -> None:
    """Wait for the other hosts; raise `TrainingError` if they do not come, or have other settings or data."""
    import jax
    from jax.experimental import multihost_utils

    _say_why_before_abort()
    where = addresses[0] if addresses else "the first node of the Slurm step"
    write_line(f"host {host} of {hosts} waits up to five minutes for the others at {where}", sys.stderr)  # as JAX does
    try:
        if addresses:
            jax.distributed.initialize(addresses[0], hosts, host)
        else:
            jax.distributed.initialize()
        alike = replace(run.config, workers=0), run.initial_epoch, digest
        same = hashlib.sha256(repr(alike).encode()).digest()
        multihost_utils.assert_equal(np.frombuffer(same, np.uint8))
    except RuntimeError as error:
        raise TrainingError(f"host {host} of {hosts} cannot meet the others at {where} ({error})") from error
    except AssertionError as error:
        raise TrainingError(
            "the hosts differ in settings, data or the state to resume: give all the same command, but for "
            "--host-index, and a folder that all see"
        ) from error


def _say_why_before_abort() -> None:
    """Print a sentence and exit with status 2 when JAX aborts the process, as it does when the first host is lost.

    Python's own handlers do not run then: `abort` does not return. This one is called by the thread that aborts.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def last_words(number: int) -> None:
        sys.stderr.write(f"train.py: {_LOST}\n")
        _exit(2)

    _say_why_before_abort.handler = last_words  # type: ignore[attr-defined]  # as long as the process lives
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(last_words, ctypes.c_void_p))


def _exit(status: int) -> None:
    """End this process without a farewell: JAX would wait for the other hosts, and abort where one is lost."""
    _remove_own_folders()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _remove_own_folders() -> None:
    for folder in _own_folders:
        shutil.rmtree(folder, ignore_errors=True)

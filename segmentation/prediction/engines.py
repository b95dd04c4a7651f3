"""Engines run the network: a batch of tiles in, a batch of channels out.

OpenVINO is the default on a CPU, where it is faster than Keras and starts in a fraction of a second; Keras is taken on
request, for a GPU. The precision of the arithmetic is always set and always stated, because OpenVINO would otherwise
choose bfloat16 by itself where the processor has it.
"""

import os
import sys
import threading
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from segmentation.bundle import Bundle

ENGINES = ("auto", "openvino", "keras")
PRECISIONS = ("f32", "bf16")

# In pixels: what images are cut into. Activations take about 240 bytes a pixel at 32 base filters: 0.4 GB.
LARGEST_TILE = 1536 * 1024

# Each of them may be at a tile of that size.
MOST_STREAMS = 4

# Keeps one core busy. More at once only take memory, and for each number of images kernels of their own: with one image
# at a time instead of four, the first pass over 103 images, two cores, took a tenth less, and the second as long.
_PIXELS_FOR_A_CORE = 256 * 256

_ONE_AT_A_TIME = threading.Lock()


class EngineError(RuntimeError):
    """An engine that cannot be had as asked for; the message is one sentence that says why and what to do."""


class Engine(Protocol):
    """The network, ready to run.

    Attributes
    ----------
    name : str
        "openvino" or "keras".
    precision : str
        What the arithmetic is done in, "f32" or "bf16", as the compiled model reports it.
    version : str
        Of the library.
    streams : int
        How many calls it answers at once. With several, more of them wait; with one, it is for one thread.
    batch_pixels : int
        Up to so many pixels at once are worth their while: images of equal shape go together until there are more.
    """

    name: str
    precision: str
    version: str
    streams: int
    batch_pixels: int

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        """Run the network on ``(N, H, W, 3)`` float32 and return ``(N, H, W, C)`` float32."""


class OpenedEngine(Engine, Protocol):
    """What `open_engine` gives."""

    def with_streams(self, streams: int) -> "OpenedEngine":
        """The same network for another number of streams, among whom all cores are shared out."""


def open_engine(bundle: Bundle, name: str = "auto", precision: str | None = None, streams: int = 1) -> OpenedEngine:
    """Make the network of a bundle ready to run.

    Parameters
    ----------
    bundle : Bundle
    name : {"auto", "openvino", "keras"}
        "auto" is OpenVINO.
    precision : {"f32", "bf16"}, optional
        Without it f32, unless the bundle lists bf16 among the validated precisions, the engine is OpenVINO and the
        processor gains from it (`gains_from_bf16`).
    streams : int
        How many threads are going to call at once; each gets its share of the cores. Keras takes one, whatever is
        asked for.

    Returns
    -------
    engine : OpenedEngine

    Raises
    ------
    EngineError
        If the engine's library is not installed, or the precision cannot be had.
    ValueError
        If `name` or `precision` is none of the above.
    """
    if name not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    if precision not in (None, *PRECISIONS):
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if name == "keras":
        if precision not in (None, "f32"):
            raise EngineError(f"The Keras engine computes in f32 only, got {precision}; leave out --engine keras")
        return KerasEngine(bundle.folder / "model.keras")
    if precision is None:
        precision = "bf16" if "bf16" in bundle.precisions and gains_from_bf16() else "f32"
    return OpenVINOEngine(bundle.folder / "model.xml", precision, streams)


class OpenVINOEngine:
    """The network on the CPU.

    One model is compiled, for tiles of any size: a shape met for the first time costs 0.03 s, while compiling a model
    of its own for it costs 0.1 s and runs only 3-5 % faster (2 cores, U-Net of 16 base filters).

    The cores are shared out among the streams. Threads that work on one tile together wait for each other after each
    layer, and all of them when one has to share its core with other work; streams of one core each do not.

    Parameters
    ----------
    file : Path
        ``model.xml``, beside its ``model.bin``.
    precision : {"f32", "bf16"}
    streams : int
        How many calls are answered at once.
    """

    name = "openvino"

    def __init__(self, file: Path, precision: str, streams: int = 1):
        openvino = _import_openvino()
        configuration = {
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": available_cores(),
            # Pinned threads of two processes would share the same cores and leave others idle.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = _core().compile_model(str(file), "CPU", configuration)
        names = {"float": "f32", "float32": "f32", "f32": "f32", "bfloat16": "bf16", "bf16": "bf16"}
        reported = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.precision = names.get(reported, reported)
        if self.precision != precision:
            raise EngineError(
                f"OpenVINO computes in {self.precision} on this processor, although {precision} was asked for; "
                f"ask for --precision {self.precision}"
            )

        self.version = openvino.__version__.split("-")[0]
        self.streams = streams
        self.batch_pixels = min(_PIXELS_FOR_A_CORE * -(-available_cores() // streams), LARGEST_TILE)
        self._file = file
        # What OpenVINO knows of NumPy's types is made when first asked for. Two threads that ask at once wait for each
        # other for ever: one has the interpreter's lock, the other that of what is being made.
        np.copy(openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).data)
        self._requests = SimpleQueue()
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        request = self._requests.get()
        try:
            # The output is copied, as the next call overwrites it; the input need not be.
            return request.infer([np.ascontiguousarray(tiles, np.float32)], share_inputs=True)[0]
        finally:
            self._requests.put(request)

    def with_streams(self, streams: int) -> "OpenVINOEngine":
        return self if streams == self.streams else OpenVINOEngine(self._file, self.precision, streams)


class KerasEngine:
    """The network on whatever device Keras finds, in float32 even if it was trained in mixed precision.

    Parameters
    ----------
    file : Path
        ``model.keras``.
    """

    name = "keras"
    precision = "f32"
    streams = 1
    batch_pixels = 8 * 256 * 256  # a GPU takes as long for one

    def __init__(self, file: Path):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            import keras
        except ImportError as error:
            raise EngineError("Keras is not installed; run: pip install -r requirements.txt") from error
        self._model = keras.saving.load_model(file, compile=False, safe_mode=True)
        for layer in self._model.layers:
            layer.dtype_policy = keras.DTypePolicy("float32")
        self.version = keras.__version__

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        return np.asarray(self._model.predict_on_batch(tiles), np.float32)

    def with_streams(self, streams: int) -> "KerasEngine":
        return self


class Stopped(Exception):
    """The engine was told to answer no more."""


class StoppableEngine:
    """An engine that can be told to answer no more, so that Ctrl-C need not wait for all that was begun.

    Parameters
    ----------
    engine : OpenedEngine
    """

    def __init__(self, engine: OpenedEngine):
        self.name, self.precision, self.version = engine.name, engine.precision, engine.version
        self.streams, self.batch_pixels = engine.streams, engine.batch_pixels
        self._engine = engine
        self._stopped = threading.Event()

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        if self._stopped.is_set():
            raise Stopped
        return self._engine(tiles)

    def with_streams(self, streams: int) -> OpenedEngine:
        """One that has not been told to stop."""
        return self._engine.with_streams(streams)

    def stop(self) -> None:
        """From now on, calls raise `Stopped`; those that have begun come to their end."""
        self._stopped.set()


def _core():
    """OpenVINO's core, one for the process and as long as it lives.

    With the first model, a core gives the thread that asks for it another stack to handle signals on. If it was let go
    of by another thread, that stack would be gone, and the next Ctrl-C a segmentation fault.
    """
    with _ONE_AT_A_TIME:  # two threads would make two
        return _new_core()


@cache
def _new_core():
    return _import_openvino().Core()


def _import_openvino():
    """Import OpenVINO without its converter of models, which it imports along where it can: in twice the time."""
    converter = "openvino.tools.ovc"
    unwanted = converter not in sys.modules
    if unwanted:
        sys.modules[converter] = None  # Python then says that there is no such module, and OpenVINO goes on
    try:
        import openvino
    except ImportError as error:
        raise EngineError("OpenVINO is not installed; run: pip install -r requirements-predict.txt") from error
    finally:
        if unwanted:
            del sys.modules[converter]
    return openvino


def streams_for(images: int) -> int:
    """How many threads had best call an engine, for so many images: one a core, but no more than memory is for."""
    return max(1, min(images, available_cores(), MOST_STREAMS))


def available_cores() -> int:
    """How many processor cores this process may keep busy: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota in _container_quotas():
        cores = min(cores, max(1, round(quota)))
    return cores


def _container_quotas(root: Path = Path("/sys/fs/cgroup")) -> list[float]:
    """The cores that Linux control groups grant this process, version 2 and version 1; none without a limit."""
    quotas = []
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((root / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue  # not Linux, or the other version
        if quota not in ("max", "-1"):
            quotas.append(int(quota) / int(period))
    return quotas


def gains_from_bf16() -> bool:
    """Whether the processor has matrix units for bfloat16 (AMX).

    Those double the rate. Without them OpenVINO still offers bf16 on processors with AVX512_BF16, where it took 1.6
    times as long as f32.
    """
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False

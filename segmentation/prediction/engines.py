"""Engines run the network: a batch of tiles in, a batch of channels out.

OpenVINO is the default on a CPU, where it is faster than Keras and starts in a fraction of a second; Keras is there on
request, for a GPU. The precision of the arithmetic is always set and stated, because OpenVINO would otherwise choose
bfloat16 by itself where the processor has it.
"""

import os
import sys
import threading
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from segmentation.bundle import Bundle, load_network
from segmentation.prediction.cores import available_cores
from segmentation.prediction.planning import LARGEST_TILE
from segmentation.targets.encodings import ENCODINGS, Encoding
from segmentation.targets.symmetries import SYMMETRIES

if TYPE_CHECKING:
    import openvino

ENGINES = ("auto", "openvino", "keras")
PRECISIONS = ("f32", "bf16")

# Keeps one core busy. More at once only take memory, and OpenVINO compiles kernels for each number of images: with one
# image at a time instead of four, the first pass over 103 images, two cores, took a tenth less, the second as long.
_PIXELS_FOR_A_CORE = 256 * 256

_CORE_LOCK = threading.Lock()


class EngineError(RuntimeError):
    """An engine that cannot be opened as asked for; the message is one sentence that says why and what to do."""


class Engine(Protocol):
    """The network, ready to run."""

    name: str  # "openvino" or "keras"
    precision: str  # of the arithmetic, "f32" or "bf16", as the compiled model reports it
    version: str  # of the library
    streams: int  # how many calls run at once; with several, more calls wait, with one, only one thread may call
    batch_pixels: int  # how many pixels to put into a batch

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        """Run the network on ``(N, H, W, 3)`` float32 and return ``(N, H, W, C)`` float32."""

    def with_streams(self, streams: int) -> "Engine":
        """Return the same network for another number of streams, which share all cores."""


def open_engine(
    bundle: Bundle, name: str = "auto", precision: str | None = None, streams: int = 1, cores: int | None = None
) -> Engine:
    """Make the network of a bundle ready to run.

    Parameters
    ----------
    name : {"auto", "openvino", "keras"}
        "auto" is OpenVINO.
    precision : {"f32", "bf16"}, optional
        By default f32, unless the bundle lists bf16 among the validated precisions, the engine is OpenVINO and the
        processor gains from it (`gains_from_bf16`).
    streams : int
        How many threads will call at once; each gets its share of the cores. Keras always has one stream.
    cores : int, optional
        How many cores OpenVINO uses, by default all that this process may use.

    Raises
    ------
    EngineError
        If the engine's library is not installed, the engine does not compute in that precision, or the network has
        other channels than the bundle's targets.
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
        engine: OpenVINOEngine | KerasEngine = KerasEngine(bundle.folder / "model.keras")
    else:
        if precision is None:
            precision = "bf16" if "bf16" in bundle.precisions and gains_from_bf16() else "f32"
        engine = OpenVINOEngine(bundle.folder / "model.xml", precision, streams)
    expected = 3, len(ENCODINGS[bundle.targets].channels)
    if engine.channels != expected:
        raise EngineError(
            f"The network of {bundle.folder} has inputs and outputs of {engine.channels} channels, where {expected} "
            f"were expected of the targets {bundle.targets}; name another model"
        )
    return engine


class OpenVINOEngine:
    """The network on the CPU, from ``model.xml`` and the ``model.bin`` beside it.

    One model is compiled for tiles of any size: a new shape costs 0.03 s, while compiling a model for it costs 0.1 s
    and runs only 3-5 % faster (2 cores, U-Net of 16 base filters).

    The streams share the cores. Threads that work on one tile together wait for each other after each layer, and all of
    them wait if one has to share its core with other work; streams of one core each do not.
    """

    name = "openvino"

    def __init__(self, file: Path, precision: str, streams: int = 1, cores: int | None = None) -> None:
        openvino = _import_openvino()
        cores = cores or available_cores()
        configuration = {
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": cores,
            # Pinned threads of two processes would share the same cores and leave others idle.
            "ENABLE_CPU_PINNING": False,
        }
        with _CORE_LOCK:  # two threads would make two cores
            core = _core()
        with file.open("rb") as stream:
            if not stream.read(64).lstrip().startswith((b"<?xml", b"<net")):  # OpenVINO would try all formats it knows
                raise EngineError(f"{file} is no OpenVINO model; name another model")
        try:
            compiled = core.compile_model(str(file), "CPU", configuration)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-120:]
            raise EngineError(f"{file} cannot be opened by OpenVINO ({reason}); name another model") from error
        names = {"float": "f32", "float32": "f32", "f32": "f32", "bfloat16": "bf16", "bf16": "bf16"}
        reported = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.precision = names.get(reported, reported)
        if self.precision != precision:
            raise EngineError(
                f"OpenVINO computes in {self.precision} on this processor, although {precision} was asked for; "
                f"ask for --precision {self.precision}"
            )

        lengths = [port.get_partial_shape()[-1] for port in (*compiled.inputs, *compiled.outputs)]
        #: Of the input and the output.
        self.channels = tuple(length.get_length() if length.is_static else None for length in lengths)
        self.version = openvino.__version__.split("-")[0]
        self.streams = streams
        self.batch_pixels = min(_PIXELS_FOR_A_CORE * -(-cores // streams), LARGEST_TILE)
        self._file, self._cores = file, cores
        # OpenVINO registers NumPy's types when they are first used. Two threads that do so at once deadlock: one holds
        # the interpreter's lock, the other that of the registration.
        np.copy(openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).data)
        self._requests: SimpleQueue = SimpleQueue()
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
        """Return this engine, or the model compiled anew for another number of streams."""
        return self if streams == self.streams else OpenVINOEngine(self._file, self.precision, streams, self._cores)


class KerasEngine:
    """The network of ``model.keras`` on the device that Keras finds, in float32 even after mixed-precision training."""

    name = "keras"
    precision = "f32"
    streams = 1
    batch_pixels = 8 * 256 * 256  # a GPU takes as long for one

    def __init__(self, file: Path) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            import keras
        except ImportError as error:
            raise EngineError("Keras is not installed; run: pip install -r requirements.txt") from error
        self._model = load_network(file.parent)
        for layer in self._model.layers:
            layer.dtype_policy = keras.DTypePolicy("float32")
        #: Of the input and the output.
        self.channels = tuple(tensor.shape[-1] for tensor in (*self._model.inputs, *self._model.outputs))
        self.version = keras.__version__

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        return np.asarray(self._model.predict_on_batch(tiles), np.float32)

    def with_streams(self, streams: int) -> "KerasEngine":
        """Return this engine: Keras has one stream."""
        return self


class Wrapper:
    """An engine around another; describes itself as the one inside."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.precision, self.version = engine.name, engine.precision, engine.version
        self.streams, self.batch_pixels = engine.streams, engine.batch_pixels

    def with_streams(self, streams: int) -> Engine:
        """Return the engine inside, not wrapped, for another number of streams."""
        return self._engine.with_streams(streams)


class SymmetricEngine(Wrapper):
    """Test-time augmentation: the mean of an engine's output over the eight symmetries of the square.

    Each batch of tiles is flipped and turned in all eight ways, and the channels are turned back; it takes eight times
    as long. Tiles whose sides are multiples of the network's divisor stay so, and so does its pooling grid.
    """

    def __init__(self, engine: Engine, encoding: Encoding) -> None:
        super().__init__(engine)
        self._encoding = encoding

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        total = np.zeros((*tiles.shape[:3], len(self._encoding.channels)), np.float32)
        for symmetry in SYMMETRIES:
            channels = self._engine(np.ascontiguousarray(symmetry(tiles)))
            total += self._encoding.turn(channels, symmetry.inverse)
        return total / len(SYMMETRIES)


class Stopped(Exception):
    """The engine was stopped before this call."""


class StoppableEngine(Wrapper):
    """An engine that can be stopped, by `stop` or by setting `stopped`; calls that are running finish."""

    def __init__(self, engine: Engine, stopped: threading.Event | None = None) -> None:
        super().__init__(engine)
        self._stopped = stopped or threading.Event()

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        if self._stopped.is_set():
            raise Stopped
        return self._engine(tiles)

    def stop(self) -> None:
        """Let calls raise `Stopped` from now on; those that are running finish."""
        self._stopped.set()


@cache
def _core() -> "openvino.Core":
    """Return OpenVINO's core, one for the life of the process.

    With its first model, a core gives the calling thread another stack to handle signals on. If another thread let go
    of the core, that stack would be gone, and the next Ctrl-C a segmentation fault.
    """
    return _import_openvino().Core()


def _import_openvino() -> ModuleType:
    """Import OpenVINO without its model converter, which it imports where it can and which doubles the time."""
    converter = "openvino.tools.ovc"
    unwanted = converter not in sys.modules
    if unwanted:
        sys.modules[converter] = None  # type: ignore[assignment]  # to Python, there is no such module
    try:
        import openvino
    except ImportError as error:
        raise EngineError("OpenVINO is not installed; run: pip install -r requirements-predict.txt") from error
    finally:
        if unwanted:
            del sys.modules[converter]
    return openvino


def gains_from_bf16() -> bool:
    """Return whether the processor has matrix units for bfloat16 (AMX), which double the rate.

    OpenVINO also offers bf16 on processors with AVX512_BF16 alone, where it took 1.6 times as long as f32.
    """
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False

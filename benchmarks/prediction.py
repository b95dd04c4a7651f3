#!/usr/bin/env python3
"""How fast `predict_masks.py` is, compared with StarDist, with its own network alone, and with the processor's peak.

    python benchmarks/prediction.py --data data/dsb2018 --split data/dsb2018_split.csv \\
        --stardist-python ~/stardist/bin/python --stardist-model ~/stardist/model
    python benchmarks/prediction.py --gigapixel      # a picture of a gigapixel beside pictures of 1024 x 1024

Ours is measured end to end, as a process from start to exit: image files in, masks and label maps out, and again with
the table of measurements. StarDist gets its images in memory, is warmed up, and only its `predict_instances` is timed;
it needs an environment of its own and a model (`benchmarks/stardist_peer.py train`). The bare engine runs the batches
that our command gives to it, from as many threads, without reading, decoding or writing. The peak is the rate of a
large float32 matrix product. All take turns in several rounds, so that other load on the machine affects all of them;
medians are compared, and the range is given.

Image files are made from the data before the first clock starts; without --data, of the bundled sample.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from options import HERE, model_parser

MASKS = ("masks", "labels")
MATRIX = 3072
GIGAPIXEL_SIDE = 32 * 1024
PIECE = 1024

parser = model_parser(__doc__, subset="test")
parser.add_argument("--stardist-python", type=Path, metavar="FILE", help="interpreter that has StarDist installed")
parser.add_argument("--stardist-model", type=Path, metavar="FOLDER")
parser.add_argument("--rounds", type=int, default=3, metavar="N")
parser.add_argument(
    "--gigapixel",
    type=int,
    nargs="?",
    const=GIGAPIXEL_SIDE,
    metavar="SIDE",
    help=f"measure a picture of so many pixels a side instead (without a number: {GIGAPIXEL_SIDE}, a gigapixel)",
)
arguments = parser.parse_args()
if (arguments.stardist_python is None) != (arguments.stardist_model is None):
    parser.error("--stardist-python and --stardist-model go together")
if arguments.gigapixel is not None and not (arguments.gigapixel > 0 and arguments.gigapixel % (4 * PIECE) == 0):
    parser.error(f"argument --gigapixel: expected a multiple of {4 * PIECE}, got {arguments.gigapixel}")

import cv2
import numpy as np
import pandas as pd
from peer import export_images, run_stardist

from segmentation.bundle import Bundle, load_bundle
from segmentation.data.images import Image
from segmentation.prediction.cores import available_cores, streams_for
from segmentation.prediction.engines import Engine, open_engine
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.predictor import Predictor
from segmentation.prediction.tiling import padded_shape


def predict_masks(images: Path, model: Path, outputs: tuple[str, ...], first: str | None = None) -> dict[str, float]:
    """Run the command; return seconds to its exit and to the first file named `first`, and its peak memory in bytes."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, str(HERE / "predict_masks.py"), str(images), "--model", str(model)]
        command += ["--output", output, "--outputs", *outputs]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        first_file = Path(output) / first if first else None
        seconds = {}
        if first_file is not None:
            # Looks whether the process has ended, and leaves its figures to `os.wait4`.
            ended = os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
            while not first_file.exists() and os.waitid(*ended) is None:
                time.sleep(0.001)
            seconds["first"] = time.perf_counter() - started
        errors = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        seconds["total"] = time.perf_counter() - started
        if status:
            raise SystemExit(f"predict_masks.py failed:\n{errors}")
        return seconds | {"memory": usage.ru_maxrss * 1024}


def make_batches(predictor: Predictor, images: list[np.ndarray]) -> list[np.ndarray]:
    """Return all batches of the command: images of equal padded shape together, up to the engine's limit of pixels.

    Pictures that are predicted at a second scale occur twice.
    """
    batches = []

    class Recorder:
        streams = 1  # so that they are recorded in their order
        batch_pixels = predictor.engine.batch_pixels

        def __call__(self, tiles: np.ndarray) -> np.ndarray:
            batches.append(tiles)
            return predictor.engine(tiles)

    recording = predictor.with_engine(Recorder())
    by_shape = defaultdict(list)
    for pixels in images:
        prepared = predictor.prepare(Image(pixels, ("",) * pixels.shape[-1], None))
        by_shape[padded_shape(*prepared.shape[:2], predictor.divisor)].append(prepared)
    for (height, width), members in by_shape.items():
        size = max(1, predictor.engine.batch_pixels // (height * width))
        for start in range(0, len(members), size):
            recording.predict_at_best(members[start : start + size])
    return batches


def time_engine(engine: Engine, batches: list[np.ndarray]) -> float:
    """Return the seconds that the network alone takes."""
    with ThreadPoolExecutor(engine.streams) as streams:
        started = time.perf_counter()
        for _ in streams.map(engine, batches):
            pass
        return time.perf_counter() - started


def measure_peak() -> float:
    """Return the floating-point operations a second of a large float32 matrix product."""
    one, other = np.random.default_rng(0).random((2, MATRIX, MATRIX), np.float32)
    started = time.perf_counter()
    one @ other
    return 2 * MATRIX**3 / (time.perf_counter() - started)


def operations_per_pixel(bundle: Bundle, side: int = 256) -> float:
    """Return the floating-point operations of the convolutions in ``model.xml`` for each pixel of input."""
    import openvino

    model = openvino.Core().read_model(str(bundle.folder / "model.xml"))
    model.reshape([1, side, side, 3])
    products = 0
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "Convolution":  # kernel (out, in, h, w)
            products += np.prod(operation.get_output_shape(0)) * np.prod(operation.get_input_shape(1)[1:])
        elif operation.get_type_name() == "ConvolutionBackpropData":  # kernel (in, out, h, w)
            products += np.prod(operation.get_input_shape(0)) * np.prod(operation.get_input_shape(1)[1:])
    return 2 * products / side**2


def write_images(folder: Path, exported: Path) -> list[np.ndarray]:
    """Write exported images as PNG; return their pixels."""
    folder.mkdir()
    images = []
    for file in sorted(exported.glob("*.npz")):
        with np.load(file) as arrays:
            pixels = arrays["pixels"]
        cv2.imwrite(str(folder / f"{file.stem}.png"), pixels[..., ::-1])
        images.append(pixels)
    return images


def compare(folder: Path) -> None:
    """Print the table of ours, StarDist, the bare engine and the peak, and their ratios."""
    export_images(arguments.data, arguments.split, [arguments.subset], folder / "exported")
    images = write_images(folder / "images", folder / "exported" / arguments.subset)
    megapixels = sum(pixels.shape[0] * pixels.shape[1] for pixels in images) / 1e6
    bundle = load_bundle(arguments.model)
    predictor = open_predictor(bundle, open_engine(bundle, streams=streams_for(len(images))))
    batches = make_batches(predictor, images)  # which also warms up: kernels are made for each shape when first met
    (folder / "one").mkdir()
    cv2.imwrite(str(folder / "one" / "one.png"), np.resize(images[0], (256, 256, images[0].shape[-1])))

    rounds = []
    for _ in range(arguments.rounds):
        one = {}
        for name, outputs in (("masks + labels, MP/s", MASKS), ("with the table, MP/s", (*MASKS, "table"))):
            measured = predict_masks(folder / "images", arguments.model, outputs)
            one[name] = megapixels / measured["total"]
            one["peak memory, GB"] = max(one.get("peak memory, GB", 0), measured["memory"] / 1e9)
        one["bare engine, MP/s"] = megapixels / time_engine(predictor.engine, batches)
        if arguments.stardist_python:
            result = run_stardist(
                arguments.stardist_python, "predict", "--images", folder / "exported" / arguments.subset,
                "--model", arguments.stardist_model, "--time",
            )  # fmt: skip
            one["StarDist, MP/s"] = megapixels / result["seconds"]
        one["to the first mask, s"] = predict_masks(folder / "one", arguments.model, ("masks",), "masks/one.png")[
            "first"
        ]
        one["peak of the processor, GFLOP/s"] = measure_peak() / 1e9
        rounds.append(one)

    table = pd.DataFrame(rounds).agg(["median", "min", "max"]).T
    print(f"{len(images)} images, {megapixels:.1f} megapixels; {available_cores()} cores; {predictor.engine.precision}")
    print(table.to_string(float_format="{:.2f}".format))
    middle = table["median"]
    ours, bare = middle["masks + labels, MP/s"], middle["bare engine, MP/s"]
    operations = operations_per_pixel(bundle)
    ratios = {
        "masks + labels over StarDist": ours / middle.get("StarDist, MP/s", np.nan),
        "masks + labels over the bare engine": ours / bare,
        "with the table over the bare engine": middle["with the table, MP/s"] / bare,
        f"bare engine ({operations / 1e3:.1f} kFLOP a pixel) over the processor": bare
        * operations / 1e3 / middle["peak of the processor, GFLOP/s"],
    }  # fmt: skip
    print("\n" + pd.Series(ratios).dropna().to_string(float_format="{:.2f}".format))


def mosaic(pixels: list[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Compose a field of view from pictures in random order, (side, side) uint8."""
    grey = [np.ascontiguousarray(image[..., 0]) for image in pixels]
    least = min(min(image.shape) for image in grey)
    rows = []
    for _ in range(-(-side // least)):
        drawn = rng.integers(len(grey), size=-(-side // least))
        rows.append(np.hstack([grey[index][:least, :least] for index in drawn]))
    return np.vstack(rows)[:side, :side]


def gigapixel(folder: Path) -> None:
    """Print rate and memory for a picture of a gigapixel, and for pictures of 1024 x 1024 of the same."""
    import tifffile

    side = arguments.gigapixel
    export_images(HERE / "data" / "sample" / "test", None, ["test"], folder / "exported")
    images = [
        pixels
        for pixels in write_images(folder / "sample", folder / "exported" / "test")
        if pixels[..., 0].mean() < 128  # fluorescence: a mosaic of one kind
    ]
    field = mosaic(images, 4 * PIECE, np.random.default_rng(0))
    (folder / "fragments").mkdir()
    for row in range(4):
        for column in range(4):
            fragment = field[row * PIECE : (row + 1) * PIECE, column * PIECE : (column + 1) * PIECE]
            cv2.imwrite(str(folder / "fragments" / f"{row}{column}.png"), fragment)
    repeats = side // len(field)

    def tiles():
        for row in range(side // 512):
            for column in range(side // 512):
                top, left = (512 * place % len(field) for place in (row, column))
                yield field[top : top + 512, left : left + 512]

    (folder / "slide").mkdir()
    tifffile.imwrite(
        folder / "slide" / "slide.tif", tiles(), shape=(side, side), dtype=np.uint8,
        tile=(512, 512), bigtiff=True, photometric="minisblack",
    )  # fmt: skip
    small = predict_masks(folder / "fragments", arguments.model, MASKS)
    large = predict_masks(folder / "slide", arguments.model, MASKS)
    again = predict_masks(folder / "fragments", arguments.model, MASKS)
    megapixels = field.size / 1e6
    rate = side**2 / 1e6 / large["total"]
    small_rate = median([megapixels / small["total"], megapixels / again["total"]])
    print(f"16 pictures of 1024 x 1024     {small_rate:.2f} MP/s")
    print(f"one picture of {side} x {side} ({repeats} x {repeats} times the same)  {rate:.2f} MP/s")
    print(f"ratio {rate / small_rate:.2f};  peak memory {large['memory'] / 1e9:.2f} GB")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (gigapixel if arguments.gigapixel else compare)(Path(folder))


if __name__ == "__main__":
    main()

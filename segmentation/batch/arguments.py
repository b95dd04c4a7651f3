"""The options of predict_masks.py; parsing them takes no time, so that --help is instant."""

import argparse
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation.command_line import Parser
from segmentation.paths import released_model

if TYPE_CHECKING:
    from segmentation.batch.inputs import Shard


def parse_arguments(description: str, formats: Mapping[str, tuple], argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line of predict_masks.py; `formats` is the registry of output formats."""
    parser = Parser(description)
    add = parser.add_argument_group("what to predict").add_argument
    images = "files, globs, OME-Zarr stores (image.zarr), folders, or a data set in the Bowl's layout, folder or zip"
    add("images", nargs="+", metavar="IMAGES", help=images)
    add("--split", metavar="CSV", help="table of ids and subsets; goes with --subset")
    add("--subset", metavar="NAME", help="only images of this subset of the split")
    channel = "which of several channels shows the nuclei: its name, or its number from 1 as in Fiji"
    add("--channel", metavar="NAME|N", help=channel)
    project = "how a stack in Z becomes one plane: the maximum, the mean, or one plane by its number from 1"
    add("--project", type=_projection, metavar="max|mean|N", help=project)
    add(
        "--series",
        type=_series,
        metavar="N|all",
        help="which series of files that hold several, from 1, or all of them",
    )
    add("--shard", type=_shard, metavar="I/N", help="only every N-th image, from the I-th on")

    add = parser.add_argument_group("what to write").add_argument
    add("--output", type=Path, default=Path("predictions"), metavar="FOLDER", help="where to")
    default = ["masks", "labels", "overlays", "table"]
    described = ", ".join(f"{name} ({files})" for name, (_, files) in formats.items())
    add("--outputs", nargs="+", choices=formats, default=default, metavar="NAME", help=f"any of: {described}")
    add("--overwrite", action="store_true", help="predict finished images again")

    add = parser.add_argument_group("how").add_argument
    model = "a trained model (default: the released one, models/nuclei)"
    add("--model", type=Path, default=released_model(), metavar="FOLDER", help=model)
    add("--threshold", type=_probability, metavar="P", help="least probability of nuclei (default: the model's)")
    add("--min-area", type=_area, metavar="PIXELS", help="drop smaller nuclei (default: the model's)")
    add("--min-score", type=_probability, metavar="S", help="drop nuclei with a lower score, the expected IoU")
    diameter = (
        "of the nuclei: images are rescaled so that they have the diameter that the model was trained on; auto: as the "
        "model estimates it for each image, beginning with 10 micrometres where pixels are known to be fine; none: "
        "images are never rescaled"
    )
    add("--diameter", type=_diameter, default="auto", metavar="PIXELS|auto|none", help=diameter)
    pixel_size = "side of a pixel in micrometres, whatever the files say"
    add("--pixel-size", type=_micrometres, dest="pixel_size_um", metavar="UM", help=pixel_size)
    normalise = (
        "contrast between limits of each image, or between common ones of all images of the call: for cut-outs of one "
        "picture, or pictures of one stain and exposure (default: image)"
    )
    add("--normalise", choices=("image", "folder"), default="image", help=normalise)
    add("--tta", action="store_true", help="average over 8 flips and turns: slightly more accurate, 8 times as slow")
    add("--engine", choices=("auto", "openvino", "keras"), default="auto", help="keras is for a GPU")
    precision = "of the arithmetic (default: f32, or bf16 if the model was validated with it and the processor gains)"
    add("--precision", choices=("f32", "bf16"), help=precision)

    add = parser.add_argument_group("where").add_mutually_exclusive_group().add_argument
    add("--scheduler", metavar="ADDRESS", help="on the workers of this Dask scheduler, as in tcp://host:8786")
    add("--scheduler-file", type=Path, metavar="FILE", help="the same, with the file that the scheduler wrote")
    arguments = parser.parse_args(argv)
    if (arguments.split is None) != (arguments.subset is None):
        parser.error("--split and --subset go together")
    return arguments


def _shard(text: str) -> "Shard":
    """Convert I/N, as in 3/8."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ArgumentTypeError(f"expected I/N with 1 <= I <= N, as in 3/8, got {text!r}")
    from segmentation.batch.inputs import Shard

    return Shard(int(number), int(count))


def _projection(text: str) -> str:
    """Convert max, mean or the number of a plane."""
    if text not in ("max", "mean") and not (text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"expected max, mean or the number of a plane, got {text!r}")
    return text


def _series(text: str) -> str:
    """Convert all or the number of a series."""
    if text != "all" and not (text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"expected the number of a series or all, got {text!r}")
    return text


def _probability(text: str) -> float:
    """Convert a number between 0 and 1."""
    return _positive(text, "a number between 0 and 1", below=1)


def _diameter(text: str) -> float | str | None:
    """Convert a number of pixels, auto or none."""
    if text == "auto":
        return text
    return None if text == "none" else _positive(text, "a number of pixels, auto or none")


def _micrometres(text: str) -> float:
    """Convert a number of micrometres."""
    return _positive(text, "a number of micrometres")


def _area(text: str) -> int:
    """Convert a number of pixels, 0 or more."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"expected a number of pixels, 0 or more, got {text!r}")
    return int(text)


def _positive(text: str, expected: str, below: float = inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not 0 < value < below:
        raise ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value

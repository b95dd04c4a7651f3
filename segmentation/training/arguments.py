"""The command line of ``train.py``: a flag for each field of `TrainingConfig`, and those for data and output."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from segmentation.command_line import Parser
from segmentation.paths import in_checkout
from segmentation.training.config import TrainingConfig


def parse_arguments(doc: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line of ``train.py``, whose docstring is `doc`; exit with status 2 if it is wrong.

    The result holds ``output``, ``overwrite``, ``resume``, ``tensorboard``, ``time_limit`` (in seconds, or None),
    ``hosts`` (addresses, or None), ``host_index``, ``started`` (by `time.monotonic`), and those settings that were
    given.
    """
    started = time.monotonic()
    parser = Parser(doc)
    groups = {name: parser.add_argument_group(name) for name in ("data", "network", "training")}

    def setting(group: str, flag: str, help_text: str, **options: object) -> None:
        groups[group].add_argument(flag, help=help_text, default=argparse.SUPPRESS, **options)  # type: ignore[arg-type]

    setting("data", "--data", "sample, dsb2018, dsb2018-official, or a folder or zip of your own (default: sample)")
    setting("data", "--split", "table of id and subset (train, val, test); drawn if not given", metavar="CSV")
    setting("data", "--skip-bad", "train without the samples that cannot be used", action="store_true")
    output = "folder of the model (default: models/ and the name of the data)"
    groups["data"].add_argument("--output", type=Path, metavar="FOLDER", help=output)
    setting("network", "--init", "begin with the weights of this model, which has the same network", metavar="FOLDER")
    for field in fields(TrainingConfig):
        setting(
            field.metadata["group"], f"--{field.name.replace('_', '-')}",
            f"{field.metadata['help']} (default: {field.default})", type=type(field.default),
            metavar=field.metadata["metavar"], choices=field.metadata["choices"],
        )  # fmt: skip
    add = groups["training"].add_argument
    add("--time-limit", type=minutes, metavar="MINUTES", help="end within this time, from start to exit")
    add("--tensorboard", action="store_true", help="write logs for TensorBoard into --output")
    several = parser.add_argument_group("several hosts, with JAX; those of a Slurm step are found")
    several.add_argument("--hosts", type=addresses, metavar="HOST:PORT,...", help="all hosts, the same list on each")
    several.add_argument("--host-index", type=int, metavar="N", help="which of them this is, from 0")
    begin = groups["training"].add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="resume the training in --output")
    begin.add_argument("--overwrite", action="store_true", help="replace the finished model in --output at the end")

    args = parser.parse_args(arguments, argparse.Namespace(started=started))
    if args.tensorboard and find_spec("tensorboard") is None:
        parser.error("argument --tensorboard: the package is not installed; pip install tensorboard")
    if (args.hosts is None) != (args.host_index is None):
        parser.error("--hosts and --host-index are given together, or neither")
    if args.hosts and not 0 <= args.host_index < len(args.hosts):
        parser.error(f"argument --host-index: expected 0 to {len(args.hosts) - 1} for {len(args.hosts)} hosts")
    if args.time_limit and (args.hosts or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1):
        parser.error("argument --time-limit: each host has its own clock; with several, limit the --epochs")
    for name in ("data", "split", "init", "output"):
        given = str(getattr(args, name, ""))
        if given.encode(errors="replace").decode() != given:
            parser.error(f"argument --{name}: {os.fsencode(given)!r} is not UTF-8, as names must be; rename it")
    if args.output is None:
        args.output = Path("models") / Path(getattr(args, "data", "sample")).resolve().stem
    return args


def addresses(text: str) -> list[str]:
    """Return the addresses of a list with commas."""
    given = text.split(",")
    for address in given:
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal()):
            raise argparse.ArgumentTypeError(f"expected HOST:PORT,HOST:PORT,..., got {address!r}")
    return given


def minutes(text: str) -> float:
    """Return the seconds of a number of minutes."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, got {value:g}")
    return 60 * value


def as_typed(script: Path | str, *arguments: object) -> str:
    """Return a command that works where this one did, with the same Python, whether or not it is activated."""
    return shlex.join([sys.orig_argv[0], os.path.relpath(script), *map(str, arguments)])


def resume_command(script: str, output: Path) -> str:
    """Return what to do after a training was stopped: resume it, or begin again if it had not begun."""
    begun = (output / "checkpoint" / "run.json").exists() and not (output / "checkpoint" / "finished").exists()
    if begun:
        return f"resume with: {as_typed(script, '--output', output, '--resume')}"
    return f"begin again with: {as_typed(script, *sys.argv[1:])}"


def predict_command(script: str, model: Path) -> str:
    """Return the command that predicts with a model; `script` is the one that trained it."""
    options = ("IMAGES", "--model", model)
    if in_checkout():
        return as_typed(Path(script).with_name("predict_masks.py"), *options)
    return shlex.join(["nuclei-predict", *map(str, options)])

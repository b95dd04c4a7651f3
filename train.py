#!/usr/bin/env python3
"""Train a U-Net on images of cell nuclei and their masks.

    python train.py                                          # the bundled sample images
    python train.py --data my_images --output models/mine    # my_images/images/*.tif beside my_images/masks/*.tif
    python train.py --data dsb2018 --split data/dsb2018_split.csv --time-limit 60
    python train.py --output models/mine --resume            # go on after a kill
    python train.py --data my_images --init models/nuclei --output models/mine     # adapt the released model

The result is a folder that predict_masks.py takes with --model.
Exit status: 0 trained; 2 the command line or the data cannot be used; 130 or 143 interrupted, go on with --resume.
"""

import time

STARTED = time.monotonic()

import argparse
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from segmentation.training.config import FOREGROUND_LOSSES, TARGETS, TrainingConfig

HERE = Path(__file__).resolve().parent


def parse_arguments() -> argparse.Namespace:
    description, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = asdict(TrainingConfig())

    def setting(group, flag, help_text, **options):
        # What is not given stays away from the namespace: a resumed training then takes what it began with.
        default = defaults.get(flag[2:].replace("-", "_"))
        if default is not None:
            help_text += f" (default: {default})"
            options.setdefault("type", type(default))
        group.add_argument(flag, help=help_text, default=argparse.SUPPRESS, **options)

    data = parser.add_argument_group("data")
    setting(data, "--data", "sample, dsb2018, dsb2018-official, or a folder or zip of your own (default: sample)")
    setting(data, "--split", "table with the columns id and subset (train, val, test); drawn without it", metavar="CSV")
    setting(data, "--skip-bad", "train without the samples that cannot be used", action="store_true")
    data.add_argument("--output", help="folder of the model (default: models/ and the name of the data)", type=Path)
    network = parser.add_argument_group("network")
    setting(
        network,
        "--init",
        "begin with the weights of this model, its targets, its depth and its filters, or more of them",
        metavar="FOLDER",
    )
    setting(network, "--targets", "what the network learns of a nucleus", choices=TARGETS)
    setting(network, "--loss", "loss of the foreground channel", choices=FOREGROUND_LOSSES)
    setting(
        network,
        "--base-filters",
        "filters of the first level; with --init as many as that model's, or more",
        metavar="N",
    )
    setting(network, "--depth", "how many times the image is halved", metavar="N")
    setting(network, "--dropout", "fraction of the feature maps that is dropped", metavar="P")
    training = parser.add_argument_group("training")
    setting(training, "--epochs", "the most epochs", metavar="N")
    setting(training, "--batch-size", "crops a step", metavar="N")
    setting(training, "--crop-size", "height and width of the crops", metavar="PIXELS")
    setting(training, "--learning-rate", "the highest; 0.0005 with --init", metavar="X")
    setting(training, "--patience", "epochs without improvement before training stops", metavar="N")
    setting(training, "--workers", "threads that augment", metavar="N")
    setting(training, "--seed", "of the weights, the crops and the split", metavar="N")
    training.add_argument(
        "--time-limit", help="end within this time, from start to exit", type=float, metavar="MINUTES"
    )
    training.add_argument("--resume", help="go on with the training in --output", action="store_true")
    training.add_argument("--tensorboard", help="write logs for TensorBoard into --output", action="store_true")
    args = parser.parse_args()
    if args.time_limit is not None and not args.time_limit > 0:
        parser.error(f"argument --time-limit: expected minutes above 0, got {args.time_limit:g}")
    if args.tensorboard and find_spec("tensorboard") is None:
        parser.error("argument --tensorboard: the package is not installed; pip install tensorboard")
    if args.output is None:
        args.output = Path("models") / Path(getattr(args, "data", "sample")).resolve().stem
    return args


def main() -> int:
    args = parse_arguments()
    from segmentation.training.allocator import keep_freed_memory
    from segmentation.training.resume import StartError, begin, finish

    keep_freed_memory()

    try:
        run = begin(args.output, vars(args), args.resume)
    except (StartError, ValueError) as error:
        return refuse(error)

    # After the command line is known to be right: these take seconds.
    from segmentation.data.dsb2018 import locate
    from segmentation.data.problems import DatasetError
    from segmentation.data.splits import write_split
    from segmentation.data.training_data import load_training_data
    from segmentation.progress import progress_bar
    from segmentation.silence import silence_tensorflow

    try:
        path = locate(run.data, HERE / "data")
        with progress_bar("reading", "image") as progress:
            subsets = load_training_data(
                path,
                run.split and Path(run.split),
                seed=run.config.seed,
                skip_bad=run.skip_bad,
                cache_folder=HERE / "data" / "cache",
                progress=progress,
            )
    except DatasetError as error:
        return refuse(error)
    if subsets.warnings:
        print(subsets.warnings)
    write_split(subsets.split, args.output / "split.csv")
    aside = len(subsets.split) - len(subsets.train) - len(subsets.val)
    print(f"{len(subsets.train)} images to train on, {len(subsets.val)} to validate on, {aside} kept aside for testing")

    with silence_tensorflow():
        import keras  # noqa: F401
    from segmentation.training.callbacks import Interrupted, TimeLimit
    from segmentation.training.checkpoint import read_state
    from segmentation.training.fit import TrainingError, fit, load_initial_weights, new_model
    from segmentation.training.history import plot_history
    from segmentation.training.package import package

    time_limit = TimeLimit(STARTED, 60 * args.time_limit) if args.time_limit else None
    model = new_model(run.config)
    try:
        if run.init and read_state(args.output / "checkpoint") is None:
            load_initial_weights(model, Path(run.init))
        history = fit(
            model,
            run.config,
            subsets.train,
            subsets.val,
            args.output,
            time_limit=time_limit,
            tensorboard=args.tensorboard,
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except Interrupted as interrupted:
        print(f"\ntrain.py: stopped by {interrupted}; go on with: python train.py --output {args.output} --resume")
        return 128 + interrupted.signal_number
    except TrainingError as error:
        return refuse(error)
    plot_history(args.output / "curves.png", history)
    scores = package(model, run, subsets, history, args.output)
    finish(args.output)

    best = min(history, key=lambda epoch: epoch["val_loss"])["epoch"] + 1
    why = "stopped early, " if best + run.config.patience <= len(history) < run.config.epochs else ""
    minutes = sum(epoch["seconds"] for epoch in history) / 60
    print(f"{len(history)} epochs in {minutes:.1f} minutes, {why}kept the weights of epoch {best}")
    for name in ("dice", "iou", "ap50", "mean_ap", "bowl"):
        figure = scores["figures"][name]
        print(f"validation {name:8} {figure['value']:.3f}   95 % interval {figure['low']:.3f} .. {figure['high']:.3f}")
    print(f"model: {args.output}    look at {args.output / 'report.html'}")
    print(f"next:  python predict_masks.py IMAGES --model {args.output}")
    return 0


def refuse(error: Exception) -> int:
    print(f"train.py: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Train a U-Net on images of cell nuclei and their masks.

    python train.py                                          # the bundled sample images
    python train.py --data my_images --output models/mine    # my_images/images/*.tif beside my_images/masks/*.tif
    python train.py --data dsb2018 --split data/dsb2018_split.csv --time-limit 60
    python train.py --output models/mine --resume            # after a kill
    python train.py --data my_images --init models/nuclei --output models/mine     # adapt the released model

It writes a folder that predict_masks.py takes with --model. Exit status: 0 trained; 2 the command line or the data
cannot be used; 130 or 143 interrupted, to be resumed with --resume.
"""

import argparse
import sys

from segmentation.command_line import refuse
from segmentation.data.problems import DatasetError
from segmentation.paths import data_folder
from segmentation.training.arguments import parse_arguments, predict_command, resume_command
from segmentation.training.errors import Interrupted, TrainingError, unusable_file


def train(args: argparse.Namespace) -> None:
    # Packages are imported when they are needed: a wrong option, folder or image is reported before Keras loads.
    from segmentation.silence import silence_tensorflow
    from segmentation.training.resume import describe_data, open_run

    run = open_run(args.output, vars(args), resume=args.resume, overwrite=args.overwrite)
    config = run.config
    data = run.load_data(data_folder())  # each image is decoded once, checked, and assigned to a subset
    print(describe_data(data))
    with silence_tensorflow():
        from keras.callbacks import CSVLogger, EarlyStopping, ReduceLROnPlateau, TensorBoard
        from keras.optimizers import AdamW
    from segmentation.freed_memory import keep_freed_memory
    from segmentation.network.metrics import DiceCoefficient, IntersectionOverUnion
    from segmentation.network.target_losses import TargetLoss
    from segmentation.network.unet import build_unet
    from segmentation.targets.encodings import ENCODINGS
    from segmentation.training import callbacks, speed
    from segmentation.training.augmentation import Augmentation
    from segmentation.training.checkpoint import Checkpoint, prepare_model
    from segmentation.training.devices import join_hosts
    from segmentation.training.export import save_model
    from segmentation.training.report import describe_training
    from segmentation.training.sequence import CenterCrops, NucleiSequence, feed

    # Batches: augmented crops to train on, the centre of each image to validate on.
    run, devices = join_hosts(run, data.digest, args.hosts, args.host_index)  # waits for the others, if there are any
    crops = NucleiSequence(
        data.train, config.targets, augmentation=Augmentation(config.crop_size, stains=config.stains), devices=devices,
        batch_size=config.batch_size, seed=config.seed, workers=config.workers or speed.default_workers(),
    )  # fmt: skip
    validation = CenterCrops(
        data.val, config.targets, batch_size=config.batch_size, crop_size=config.crop_size, devices=devices
    )

    # The network, its loss and its metrics.
    keep_freed_memory()
    with devices.scope():
        model = build_unet(
            ENCODINGS[config.targets].activations, base_filters=config.base_filters, depth=config.depth,
            dropout=config.dropout, seed=config.seed, batch_normalisation=speed.batch_normalisation(devices.count),
        )  # fmt: skip
        model.compile(
            optimizer=devices.sum_before_clipping(AdamW(config.learning_rate, weight_decay=1e-4, clipnorm=1.0)),
            loss=TargetLoss(config.targets, foreground=config.loss),
            weighted_metrics=[DiceCoefficient(name="crop_dice"), IntersectionOverUnion(name="crop_iou")],
            jit_compile=speed.jit_compile(devices.count),
        )
    prepare_model(model, run)
    run.begin()  # all is checked: from here on --output changes

    # The training; each callback can be left out or replaced, but for Checkpoint.
    time_limit = callbacks.TimeLimit(args.started, args.time_limit)
    used = [
        callbacks.EpochSetter(crops), callbacks.Stopwatch(), callbacks.RefuseNaN(), time_limit,
        callbacks.LearningRateSchedule(len(crops), config.epochs, time_limit),
        ReduceLROnPlateau(factor=0.5, patience=max(config.patience // 3, 1), min_lr=config.learning_rate / 100),
        EarlyStopping(patience=config.patience),
        CSVLogger(run.checkpoint / "history.csv", append=run.initial_epoch > 0),
        *([TensorBoard(run.folder / "tensorboard")] if args.tensorboard else []),
    ]  # fmt: skip
    with devices.scope(), callbacks.InterruptHandler() as interrupts, crops:  # Ctrl-C ends it after the running step
        model.fit(
            feed(crops), validation_data=feed(validation), epochs=config.epochs, initial_epoch=run.initial_epoch,
            callbacks=[*used, interrupts, Checkpoint(run.checkpoint, used)],  # the last one keeps the best weights
            shuffle=False, verbose=1 if sys.stdout.isatty() else 2,
        )  # fmt: skip
    if devices.leave():  # the first host
        history, scores = save_model(model, run, data)
        print(describe_training(run, history, scores), f"next:  {predict_command(__file__, args.output)}", sep="\n")


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(__doc__, arguments)
    try:
        train(args)
    except (TrainingError, DatasetError, ImportError) as error:
        return refuse("train.py", error)
    except OSError as error:
        return refuse("train.py", unusable_file(error, args.output))
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"\ntrain.py: stopped by {str(stop) or 'SIGINT'};", resume_command(__file__, args.output))
        return 128 + stop.signal_number if isinstance(stop, Interrupted) else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

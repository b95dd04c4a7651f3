#!/usr/bin/env python3
"""What loading and augmenting cost: the time of `fit` over that of bare training steps, in one run.

    python benchmarks/training.py [--data sample|FOLDER|ZIP] [--steps 40] [--rounds 5]

`fit` draws, augments and encodes its batches as in training. The bare loop calls `train_on_batch` of the same network,
of the same settings, on batches that already lie in memory. The two take turns, so that what else the machine does
falls on both; the medians are compared. The target is a ratio of at most 1.10 on two cores.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--steps", type=int, default=40, help="bare steps a round; of fit it is an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, help="processes that draw the crops, or 0; as train.py if not given")
    args = parser.parse_args()

    from segmentation.silence import silence_tensorflow

    with silence_tensorflow():
        import keras

    from segmentation.data.training_data import load_training_data
    from segmentation.freed_memory import keep_freed_memory
    from segmentation.network.target_losses import TargetLoss
    from segmentation.network.unet import build_unet
    from segmentation.targets.encodings import ENCODINGS
    from segmentation.training import speed
    from segmentation.training.config import TrainingConfig
    from segmentation.training.sequence import NucleiSequence, feed

    path = HERE / "data" / "sample" / "train" if args.data == "sample" else Path(args.data)
    config = TrainingConfig()
    started = time.perf_counter()
    subsets = load_training_data(path, None, seed=0, skip_bad=True, cache_folder=HERE / "data" / "cache")
    print(f"preparing {len(subsets.split)} images (imports excluded): {time.perf_counter() - started:.1f} s")
    batches = NucleiSequence(
        subsets.train,
        config.targets,
        batch_size=config.batch_size,
        crop_size=config.crop_size,
        workers=speed.default_workers() if args.workers is None else args.workers,
    )
    keep_freed_memory()
    activations = ENCODINGS[config.targets].activations
    model = build_unet(activations, dropout=config.dropout, batch_normalisation=speed.batch_normalisation())
    model.compile(
        keras.optimizers.AdamW(config.learning_rate, weight_decay=1e-4, clipnorm=1.0),
        loss=TargetLoss(config.targets, foreground=config.loss),
        jit_compile=speed.jit_compile(),
    )
    in_memory = [batches[index] for index in range(8)]

    fitted, bare = [], []

    class TakeTurns(keras.callbacks.Callback):
        """Time each epoch of the fit, up to the begin of the next one, and bare steps between the two."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch:
                fitted.append(
                    (time.perf_counter() - self.started) / len(batches) - bare[-1] * args.steps / len(batches)
                )
            batches.epoch = epoch
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            started = time.perf_counter()
            for step in range(args.steps):
                model.train_on_batch(*in_memory[step % len(in_memory)])
            bare.append((time.perf_counter() - started) / args.steps)

    model.fit(feed(batches), epochs=args.rounds + 2, callbacks=[TakeTurns()], verbose=0, shuffle=False)
    batches.close()

    # The first turn traces the graphs.
    fitted, bare = fitted[1:], bare[1:-1]
    crops = config.batch_size / median(bare)
    print(
        f"fit:             {1000 * median(fitted):.0f} ms a step ({1000 * min(fitted):.0f} .. {1000 * max(fitted):.0f})"
    )
    print(f"bare steps:      {1000 * median(bare):.0f} ms a step ({1000 * min(bare):.0f} .. {1000 * max(bare):.0f})")
    print(f"                 {crops:.1f} crops of {config.crop_size}x{config.crop_size} a second")
    print(f"fit over bare:   {median(fitted) / median(bare):.3f}")


if __name__ == "__main__":  # the processes that draw the crops import this file
    main()

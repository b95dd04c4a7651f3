#!/usr/bin/env python3
"""How many batches a second processes draw: N of them over N times one, in one run.

    python benchmarks/workers.py [--data sample|FOLDER|ZIP] [--workers 1 2] [--batches 60] [--rounds 5]

The batches are those of `train.py`. The numbers of processes take turns, so that what else the machine does falls on
all; the medians are compared. The target is a ratio of at least 0.9, so 1.8 times the rate of one for two on two cores.
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
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--batches", type=int, default=60, help="a round and number of processes")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    from segmentation.data.training_data import load_training_data
    from segmentation.training.augmentation import Augmentation
    from segmentation.training.batches import CropBatches
    from segmentation.training.config import TrainingConfig
    from segmentation.training.workers import WorkerProcesses

    path = HERE / "data" / "sample" / "train" if args.data == "sample" else Path(args.data)
    images = load_training_data(path, None, seed=0, skip_bad=True, cache_folder=HERE / "data" / "cache").train
    config = TrainingConfig()
    batches = CropBatches(images, config.targets, Augmentation(config.crop_size), config.batch_size, config.seed)
    rates: dict[int, list[float]] = {count: [] for count in args.workers}
    for turn in range(args.rounds):
        for count in args.workers:
            processes = WorkerProcesses(batches, count)
            order = [divmod(number, len(batches)) for number in range(4 * count + args.batches)]
            for epoch, index in order[: 4 * count]:  # all have started, and are as far ahead as they get
                processes.draw(epoch, index)
            started = time.perf_counter()
            for epoch, index in order[4 * count :]:
                processes.draw(epoch, index)
            rates[count].append(args.batches / (time.perf_counter() - started))
            processes.close()
        print(f"round {turn + 1}:", ", ".join(f"{n} processes {rates[n][-1]:.2f}" for n in args.workers), flush=True)

    megapixels = config.batch_size * config.crop_size**2 / 1e6
    first = args.workers[0]
    print(f"batches of {config.batch_size} crops of {config.crop_size} x {config.crop_size}; median (least .. most)")
    for count in args.workers:
        rate = median(rates[count])
        each = median(many / one for many, one in zip(rates[count], rates[first], strict=True))
        print(
            f"{count:3d} processes: {rate:.2f} ({min(rates[count]):.2f} .. {max(rates[count]):.2f}) batches a second, "
            f"{rate * megapixels:.1f} megapixels a second, {each:.2f} times the rate of {first}"
        )


if __name__ == "__main__":
    main()

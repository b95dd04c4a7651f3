#!/usr/bin/env python3
"""StarDist, the peer: train it, and predict with it. Runs in an environment of its own, with `stardist` and TensorFlow.

    python benchmarks/stardist_peer.py train --images FOLDER --minutes 20 --output MODEL
    python benchmarks/stardist_peer.py predict --images FOLDER/test --model MODEL [--output LABELS] [--time]

It reads what `benchmarks/peer.py` has exported, so it needs nothing of ours. What it did is printed as one line of
JSON, the last of standard output.

The settings are those of StarDist's own examples: 32 rays, grid 2, batches of four 256 x 256 patches, learning rate
3e-4, halved on a plateau, flips, turns and changes of intensity, the best weights by validation loss, and thresholds
tuned on the validation images. Images have three channels, stretched between their 1st and 99.8th percentile.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a model; tuning its thresholds comes on top of the minutes")
    train.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="that holds train/ and val/")
    train.add_argument("--minutes", type=float, default=20, metavar="N")
    train.add_argument("--seed", type=int, default=0, metavar="N")
    train.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    predict = commands.add_parser("predict", help="predict images; all of them are read before the first is predicted")
    predict.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    predict.add_argument("--model", type=Path, required=True, metavar="FOLDER")
    predict.add_argument("--output", type=Path, metavar="FOLDER", help="where to write label maps, NAME.tif")
    predict.add_argument("--time", action="store_true", help="predict an image of each shape first, and take the time")
    return parser.parse_args()


def read_images(folder: Path) -> tuple[list[str], list[np.ndarray], list[np.ndarray]]:
    """Names, images (H, W, 3) float32, normalised as StarDist has it, and label maps (H, W)."""
    from csbdeep.utils import normalize

    names, images, label_maps = [], [], []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            pixels, labels = arrays["pixels"], arrays["labels"]
        names.append(file.stem)
        images.append(normalize(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), 1, 99.8, axis=(0, 1, 2)))
        label_maps.append(labels)
    if not names:
        raise SystemExit(f"stardist_peer.py: {folder} holds no .npz files")
    return names, images, label_maps


def train(arguments: argparse.Namespace) -> dict:
    """Train until the minutes are over, then tune the thresholds."""
    import keras
    from stardist.models import Config2D, StarDist2D

    _, images, label_maps = read_images(arguments.images / "train")
    _, val_images, val_label_maps = read_images(arguments.images / "val")
    config = Config2D(
        n_rays=32,
        grid=(2, 2),
        n_channel_in=3,
        train_batch_size=4,
        train_patch_size=(256, 256),
        train_learning_rate=3e-4,
        train_epochs=10_000,
        train_tensorboard=False,
    )
    model = StarDist2D(config, name=arguments.output.name, basedir=str(arguments.output.parent))
    model.prepare_for_training()
    end = time.monotonic() + 60 * arguments.minutes

    class TimeLimit(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            # The epoch ends there, with its validation.
            self.model.stop_training = time.monotonic() > end

    limit = TimeLimit()
    model.callbacks.append(limit)
    random = np.random.default_rng(arguments.seed)

    def augment(image, label_map):
        turns, flip = random.integers(4), random.random() < 0.5
        image, label_map = np.rot90(image, turns), np.rot90(label_map, turns)
        if flip:
            image, label_map = image[::-1], label_map[::-1]
        image = image * random.uniform(0.6, 2) + random.uniform(-0.2, 0.2)
        return image + 0.02 * random.uniform() * random.normal(size=image.shape), label_map

    model.train(images, label_maps, (val_images, val_label_maps), augmenter=augment, seed=arguments.seed)
    thresholds = model.optimize_thresholds(val_images, val_label_maps)
    return {"steps": limit.steps, "parameters": model.keras_model.count_params(), "thresholds": thresholds}


def predict(arguments: argparse.Namespace) -> dict:
    """Predict each image by itself, as `predict_instances` does by default."""
    from stardist.models import StarDist2D

    names, images, _ = read_images(arguments.images)
    model = StarDist2D(None, name=arguments.model.name, basedir=str(arguments.model.parent))
    if arguments.time:
        # TensorFlow traces its graph anew for every shape.
        for image in {image.shape: image for image in images}.values():
            model.predict_instances(image)
    started = time.perf_counter()
    label_maps = [model.predict_instances(image)[0] for image in images]
    seconds = time.perf_counter() - started
    if arguments.output:
        import tifffile

        arguments.output.mkdir(parents=True, exist_ok=True)
        for name, labels in zip(names, label_maps, strict=True):
            tifffile.imwrite(arguments.output / f"{name}.tif", labels.astype(np.uint16), compression="zlib")
    return {
        "images": len(images),
        "pixels": sum(labels.size for labels in label_maps),
        "nuclei": sum(int(labels.max()) for labels in label_maps),
        "seconds": seconds if arguments.time else None,
    }


def main() -> None:
    arguments = parse_arguments()
    result = train(arguments) if arguments.command == "train" else predict(arguments)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

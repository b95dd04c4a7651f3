"""Nuclei segmentation: ``from segmentation import segment; labels = segment(array)``.

Importing this package imports nothing else. A public name is imported when it is first asked for, so `segment` works
without TensorFlow, and only what builds and trains networks imports Keras.
"""

from importlib import import_module
from typing import Any

__version__ = "1.0.0"

_HOMES = {
    # Predict, without TensorFlow
    "segment": "segmentation.prediction.segment",
    "load_bundle": "segmentation.bundle",
    # Build and train
    "build_unet": "segmentation.network.unet",
    "build_classic_unet": "segmentation.network.classic_unet",
    "NucleiSequence": "segmentation.training.sequence",
    "CenterCrops": "segmentation.training.sequence",
    "Augmentation": "segmentation.training.augmentation",
    "CachedImages": "segmentation.data.cache",
    "ENCODINGS": "segmentation.targets.encodings",
    # Losses and metrics
    "binary_crossentropy": "segmentation.network.losses",
    "dice": "segmentation.network.losses",
    "bce_dice": "segmentation.network.losses",
    "tversky": "segmentation.network.losses",
    "focal_tversky": "segmentation.network.losses",
    "TargetLoss": "segmentation.network.target_losses",
    "DiceCoefficient": "segmentation.network.metrics",
    "IntersectionOverUnion": "segmentation.network.metrics",
    # Score
    "score_image": "segmentation.evaluation.scores",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

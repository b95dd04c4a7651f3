"""The settings of a training: name, type, default, range and help text of each, in one place."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

# The names alone, so that the command line is parsed without importing Keras. A test compares them with the keys of
# `segmentation.targets.encodings.ENCODINGS` and `segmentation.network.losses.FOREGROUND_LOSSES`.
TARGETS = ("centre_offsets", "touching_border", "distance", "foreground")
FOREGROUND_LOSSES = ("bce", "dice", "bce_dice", "tversky", "focal_tversky")

Value = TypeVar("Value", int, float, str)


def _setting(default: Value, group: str, help_text: str, metavar: str | None = None, **limits: Any) -> Value:
    metadata = {"group": group, "help": help_text, "metavar": metavar, "choices": None, "least": None}
    return field(default=default, metadata=metadata | limits)


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training, saved with the model; ``train.py`` has a flag for each.

    Raises ValueError if a setting is out of its range, or if the crops cannot be halved `depth` times.
    """

    targets: str = _setting("centre_offsets", "network", "what the network learns of a nucleus", choices=TARGETS)
    loss: str = _setting("bce_dice", "network", "loss of the foreground channel", choices=FOREGROUND_LOSSES)
    base_filters: int = _setting(
        32, "network", "filters of the first level; with --init those of that model", "N", least=1
    )
    depth: int = _setting(4, "network", "how many times the image is halved", "N", least=1)
    dropout: float = _setting(0.1, "network", "fraction of the feature maps that is dropped", "P")
    epochs: int = _setting(100, "training", "train for at most so many epochs", "N", least=1)
    batch_size: int = _setting(8, "training", "crops in a batch", "N", least=1)
    crop_size: int = _setting(192, "training", "height and width of the crops", "PIXELS", least=1)
    stains: float = _setting(0.0, "training", "fraction of the crops that are drawn in other stains", "P")
    learning_rate: float = _setting(2e-3, "training", "the highest learning rate; 0.0005 with --init", "X")
    patience: int = _setting(21, "training", "stop after so many epochs without a lower validation loss", "N", least=1)
    workers: int = _setting(
        0,
        "training",
        "processes that draw the crops; with 0 all cores but one for a GPU, and none for a CPU",
        "N",
        least=0,
    )
    seed: int = _setting(0, "training", "seed of the initial weights, the crops and the split", "N", least=0)

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, choices, least = getattr(self, setting.name), setting.metadata["choices"], setting.metadata["least"]
            kind = type(setting.default)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ValueError(f"{setting.name} must be of the type {kind.__name__}, got {value!r}")
            if choices and value not in choices:
                raise ValueError(f"{setting.name} must be one of {', '.join(choices)}, got {value!r}")
            if least is not None and value < least:
                raise ValueError(f"{setting.name} must be at least {least}, got {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not 0 <= self.stains <= 1:
            raise ValueError(f"stains must be in [0, 1], got {self.stains}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.crop_size % 2**self.depth:
            raise ValueError(
                f"crop_size must be a multiple of {2**self.depth} for a depth of {self.depth}, got {self.crop_size}"
            )

"""Everything that decides how a training goes, in one place; saved with the model."""

from dataclasses import dataclass

# The names alone, so that the command line is parsed without importing Keras; a test holds them against the tables that
# they are the keys of.
TARGETS = ("centre_offsets", "touching_border", "distance", "foreground")
FOREGROUND_LOSSES = ("bce", "dice", "bce_dice", "tversky", "focal_tversky")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training; ``train.py`` has a flag for each.

    Attributes
    ----------
    targets : str
        Target encoding, a key of `segmentation.targets.encodings.ENCODINGS`.
    loss : str
        Loss of the foreground channel, a key of `segmentation.network.losses.FOREGROUND_LOSSES`.
    base_filters, depth : int
        Size of the U-Net, see `segmentation.network.unet.build_unet`.
    dropout : float
        In [0, 1).
    epochs : int
        The most epochs.
    batch_size : int
        Crops a step.
    crop_size : int
        Height and width of the crops, in pixels; a multiple of ``2 ** depth``.
    learning_rate : float
        The highest; see `segmentation.training.callbacks.LearningRateSchedule`.
    patience : int
        Epochs without a lower validation loss after which training stops; the learning rate is halved after a third.
    workers : int
        Threads that augment.
    seed : int
        Of the initial weights, the crops and the split, if one is drawn.
    """

    # network
    targets: str = "centre_offsets"
    loss: str = "bce_dice"
    base_filters: int = 32
    depth: int = 4
    dropout: float = 0.1
    # training
    epochs: int = 100
    batch_size: int = 8
    crop_size: int = 192
    learning_rate: float = 2e-3
    patience: int = 21
    workers: int = 2
    seed: int = 0

    def __post_init__(self):
        for name, names in (("targets", TARGETS), ("loss", FOREGROUND_LOSSES)):
            if getattr(self, name) not in names:
                raise ValueError(f"{name} must be one of {', '.join(names)}, got {getattr(self, name)!r}")
        for name in ("base_filters", "depth", "epochs", "batch_size", "crop_size", "patience", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.crop_size % self.divisor:
            raise ValueError(
                f"crop_size must be a multiple of {self.divisor} for a depth of {self.depth}, got {self.crop_size}"
            )

    @property
    def divisor(self) -> int:
        """What height and width of the network's input must be divisible by."""
        return 2**self.depth

from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from segmentation.network import losses
from segmentation.targets import encodings
from segmentation.training import config
from segmentation.training.config import TrainingConfig


def test_names_are_those_of_the_tables():
    assert set(config.TARGETS) == set(encodings.ENCODINGS)
    assert set(config.FOREGROUND_LOSSES) == set(losses.FOREGROUND_LOSSES)


@pytest.mark.parametrize("loss", config.FOREGROUND_LOSSES)
def test_every_loss_is_accepted(loss):
    assert TrainingConfig(loss=loss).loss == loss


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("targets", "stars"),
        ("loss", "mse"),
        ("base_filters", 0),
        ("depth", 0),
        ("epochs", 0),
        ("batch_size", 0),
        ("crop_size", 0),
        ("crop_size", -16),
        ("patience", 0),
        ("workers", -1),
        ("seed", -1),
        ("dropout", -0.1),
        ("dropout", 1.0),
        ("dropout", float("nan")),
        ("stains", -0.1),
        ("stains", 1.1),
        ("stains", float("nan")),
        ("learning_rate", 0.0),
        ("learning_rate", -1e-3),
        ("learning_rate", float("nan")),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*got .*{value}"):
        TrainingConfig(**{name: value})


@pytest.mark.parametrize(
    ("depth", "crop_size", "fits"), [(2, 36, True), (2, 38, False), (4, 192, True), (4, 200, False), (5, 192, True)]
)
def test_crops_must_be_halved_without_remainder(depth, crop_size, fits):
    if fits:
        assert TrainingConfig(depth=depth, crop_size=crop_size).crop_size % 2**depth == 0
    else:
        with pytest.raises(ValueError, match=rf"multiple of {2**depth} .*depth.* {depth}, got {crop_size}"):
            TrainingConfig(depth=depth, crop_size=crop_size)


def test_survives_its_own_dict():
    changed = TrainingConfig(loss="tversky", depth=3, learning_rate=1e-4, dropout=0)
    assert TrainingConfig(**asdict(changed)) == changed != TrainingConfig()


def test_cannot_be_changed_and_changes_are_checked():
    with pytest.raises(FrozenInstanceError):
        TrainingConfig().epochs = 3
    with pytest.raises(ValueError, match="epochs"):
        replace(TrainingConfig(), epochs=0)

import csv

import cv2
import keras
import numpy as np
import pytest

from segmentation.training.history import plot_history, write_history


@pytest.fixture
def history():
    return [
        {
            "epoch": epoch,
            "loss": 1 / (epoch + 1),
            "val_loss": 1.1 / (epoch + 1),
            "dice": 1 - 0.5**epoch,
            "val_dice": 0.9 - 0.5**epoch,
            "learning_rate": 1e-3,
            "learning_rate_used": 1e-3 / (epoch + 1),
        }
        for epoch in range(4)
    ]


def read(file):
    with open(file, newline="") as table:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(table)]


def test_table_holds_what_was_written(tmp_path, history):
    write_history(tmp_path / "history.csv", history)
    assert read(tmp_path / "history.csv") == history


def test_keras_goes_on_with_the_table(tmp_path, history):
    """What `CSVLogger` appends must land in the columns that are there."""
    file = tmp_path / "history.csv"
    write_history(file, history[:2])
    logger = keras.callbacks.CSVLogger(file, append=True)
    logger.on_train_begin()
    for row in history[2:]:
        # Keras gives the figures in any order, without the epoch.
        logs = {name: row[name] for name in sorted(row, reverse=True) if name != "epoch"}
        logger.on_epoch_end(row["epoch"], logs)
    logger.on_train_end()
    assert read(file) == history
    assert file.read_text().count("epoch") == 1


def test_keras_writes_the_same_table_from_the_start(tmp_path, history):
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    write_history(ours, history)
    logger = keras.callbacks.CSVLogger(theirs)
    logger.on_train_begin()
    for row in history:
        logger.on_epoch_end(row["epoch"], {name: value for name, value in row.items() if name != "epoch"})
    logger.on_train_end()
    assert ours.read_text() == theirs.read_text()


def test_no_history_leaves_no_table(tmp_path, history):
    file = tmp_path / "history.csv"
    write_history(file, [])
    assert not file.exists()
    write_history(file, history)
    write_history(file, [])
    assert not file.exists()


@pytest.mark.parametrize("epochs", [1, 4])
def test_curves_are_a_picture(tmp_path, history, epochs):
    plot_history(tmp_path / "curves.png", history[:epochs])
    data = (tmp_path / "curves.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 800 and picture.std() > 5


def test_best_epoch_is_marked_where_the_validation_loss_is_lowest(tmp_path, history):
    history[1]["val_loss"] = 0.0
    plot_history(tmp_path / "second.png", history)
    history[1]["val_loss"] = 0.55
    plot_history(tmp_path / "last.png", history)
    orange = []
    for name in ("second", "last"):
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        right = picture[:, picture.shape[1] * 2 // 3 :].astype(int)  # no curve of that colour there
        orange.append(np.argwhere((right[..., 2] > 230) & (right[..., 0] < 120) & (right[..., 1] < 200))[:, 1].mean())
    assert orange[0] < orange[1] - 20

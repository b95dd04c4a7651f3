import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from segmentation.training.history import best_epoch, draw_history, write_history


@pytest.fixture
def history():
    return pd.DataFrame(
        {
            "epoch": epoch,
            "loss": 1 / (epoch + 1),
            "val_loss": 1.1 / (epoch + 1),
            "crop_dice": 1 - 0.5**epoch,
            "val_crop_dice": 0.9 - 0.5**epoch,
            "learning_rate": 1e-3,
            "learning_rate_used": 1e-3 / (epoch + 1),
        }
        for epoch in range(4)
    )


def read(file):
    return pd.read_csv(file)


def rows(history):
    return history.to_dict("records")


def test_table_holds_what_was_written(tmp_path, history):
    write_history(tmp_path / "history.csv", history)
    pd.testing.assert_frame_equal(read(tmp_path / "history.csv"), history, check_like=True, check_exact=True)


def test_keras_goes_on_with_the_table(tmp_path, history):
    """What `CSVLogger` appends must land in the columns that are there."""
    file = tmp_path / "history.csv"
    write_history(file, history[:2])
    logger = keras.callbacks.CSVLogger(file, append=True)
    logger.on_train_begin()
    for row in rows(history[2:]):
        # Keras gives the figures in any order, without the epoch.
        logs = {name: row[name] for name in sorted(row, reverse=True) if name != "epoch"}
        logger.on_epoch_end(row["epoch"], logs)
    logger.on_train_end()
    pd.testing.assert_frame_equal(read(file), history, check_like=True, check_exact=True)
    assert file.read_text().count("epoch") == 1


def test_keras_writes_the_same_table_from_the_start(tmp_path, history):
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    write_history(ours, history)
    logger = keras.callbacks.CSVLogger(theirs)
    logger.on_train_begin()
    for row in rows(history):
        logger.on_epoch_end(row["epoch"], {name: value for name, value in row.items() if name != "epoch"})
    logger.on_train_end()
    assert ours.read_bytes() == theirs.read_bytes()


def test_no_history_leaves_no_table(tmp_path, history):
    file = tmp_path / "history.csv"
    write_history(file, pd.DataFrame())
    assert not file.exists()
    write_history(file, history)
    write_history(file, pd.DataFrame())
    assert not file.exists()


@pytest.mark.parametrize("epochs", [1, 4])
def test_curves_are_a_picture(tmp_path, history, epochs):
    draw_history(history[:epochs]).savefig(tmp_path / "curves.png", dpi=110)
    data = (tmp_path / "curves.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 800 and picture.std() > 5


def test_best_epoch_is_marked_where_the_validation_loss_is_lowest(tmp_path, history):
    history.loc[1, "val_loss"] = 0.0
    assert best_epoch(history) == 2
    draw_history(history).savefig(tmp_path / "second.png", dpi=110)
    history.loc[1, "val_loss"] = 0.55
    assert best_epoch(history) == 4
    draw_history(history).savefig(tmp_path / "last.png", dpi=110)
    orange = []
    for name in ("second", "last"):
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        right = picture[:, picture.shape[1] * 2 // 3 :].astype(int)  # no curve of that colour there
        orange.append(np.argwhere((right[..., 2] > 230) & (right[..., 0] < 120) & (right[..., 1] < 200))[:, 1].mean())
    assert orange[0] < orange[1] - 20


def test_lines_hold_the_figures(history):
    panels = draw_history(history).axes
    assert [panel.get_title() for panel in panels] == ["Loss", "Dice of crops (pixels)", "Learning rate"]
    columns = [["loss", "val_loss"], ["crop_dice", "val_crop_dice"], ["learning_rate", "learning_rate_used"]]
    for panel, names in zip(panels, columns, strict=True):
        for line, name in zip(panel.lines, names, strict=False):  # then the best epoch
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_array_equal(line.get_ydata(), history[name])


def test_figures_of_callbacks_that_were_left_out_are_not_drawn(history):
    panels = draw_history(history[["epoch", "loss", "val_loss"]]).axes
    assert [len(panel.lines) for panel in panels] == [3, 1, 1]

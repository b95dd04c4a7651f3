"""The metrics of each epoch: as a table, and as curves."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure  # not pyplot: no display, no global state

from segmentation.atomic import written_whole


def write_history(file: Path, history: pd.DataFrame) -> None:
    """Write a row for each epoch as CSV, to which `keras.callbacks.CSVLogger` can append; no file without epochs."""
    if history.empty:
        file.unlink(missing_ok=True)
        return
    with written_whole(file) as part:
        history[["epoch", *sorted(history.columns.drop("epoch"))]].to_csv(part, index=False, lineterminator="\r\n")


def minutes_of(history: pd.DataFrame) -> float:
    """Return how long the epochs took; those whose seconds were not measured count as none."""
    return float(history["seconds"].sum()) / 60 if "seconds" in history else 0.0


def best_epoch(history: pd.DataFrame) -> int:
    """Return the number, from 1, of the epoch with the lowest validation loss."""
    return int(history.loc[history["val_loss"].idxmin(), "epoch"]) + 1


def draw_history(history: pd.DataFrame) -> Figure:
    """Draw loss, Dice coefficient of the crops and learning rate over the epochs; columns that lack are left out."""
    panels: dict[str, dict[str, str | None]] = {
        "Loss": {"loss": "training (augmented)", "val_loss": "validation"},
        "Dice of crops (pixels)": {"crop_dice": None, "val_crop_dice": None},
        "Learning rate": {
            "learning_rate": "base rate, halved on plateaus",
            "learning_rate_used": "last step of the epoch",
        },
    }
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for (column, label), colour in zip(lines.items(), ("0.6", "C0"), strict=True):
            if column in history:
                axes.plot(history["epoch"] + 1, history[column], color=colour, label=label)
        axes.axvline(best_epoch(history), color="C1", linestyle=":", label="best epoch")
        axes.set(title=title, xlabel="Epoch", yscale="log" if title == "Learning rate" else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if title.startswith("Dice"):
            axes.set_ylim(None, 1)
        else:
            axes.legend()
    return figure

"""The figures of each epoch: as a table, and as curves."""

import csv
from pathlib import Path


def write_history(file: Path, history: list[dict]) -> None:
    """Write the figures of each epoch as CSV, as `keras.callbacks.CSVLogger` does, which then appends to it.

    Parameters
    ----------
    file : Path
    history : list of dict
        One dict an epoch; nothing is written, and what lies there is deleted, if it is empty.
    """
    if not history:
        file.unlink(missing_ok=True)
        return
    columns = ["epoch", *sorted(history[0].keys() - {"epoch"})]
    with open(file, "w", newline="") as table:
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        writer.writerows(history)


def plot_history(file: Path, history: list[dict]) -> None:
    """Draw the curves of a training: loss, Dice coefficient and learning rate over the epochs.

    Parameters
    ----------
    file : Path
        PNG.
    history : list of dict
        From `segmentation.training.fit.fit`.
    """
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    epochs = [row["epoch"] + 1 for row in history]
    best = min(history, key=lambda row: row["val_loss"])["epoch"] + 1
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, name, title in ((panels[0], "loss", "Loss"), (panels[1], "dice", "Dice coefficient (crops)")):
        axes.plot(epochs, [row[name] for row in history], color="0.6", label="training (augmented)")
        axes.plot(epochs, [row[f"val_{name}"] for row in history], color="C0", label="validation")
        axes.set_title(title)
    panels[1].set_ylim(None, 1)
    panels[2].semilogy(epochs, [row["learning_rate_used"] for row in history], color="C0")
    panels[2].set_title("Learning rate at the end of the epoch")
    for axes in panels:
        axes.axvline(best, color="C1", linestyle=":", label="best epoch")
        axes.set_xlabel("Epoch")
        axes.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(file, dpi=110)

"""All that it takes to go on with a training after a kill at any moment."""

import json
import os
from pathlib import Path

import keras


class Checkpoint(keras.callbacks.Callback):
    """Save the state of a training at the end of each epoch, and put it back at the start of a resumed one.

    Keras' own `BackupAndRestore` saves weights, optimiser and epoch, but not what the other callbacks know: how long
    the validation loss has not fallen, and what its lowest was. The state lies in one folder::

        state.json                  epoch, history, the other callbacks' attributes; names the files that belong to it
        epoch-00012.weights.h5      weights and optimiser
        best-00010.weights.h5       weights of the best epoch, by `keras.callbacks.ModelCheckpoint`

    ``state.json`` is replaced in one step, after the files that it names are on disk; those that it no longer names are
    deleted last. So whenever the process dies, the folder holds one whole state.

    Stands last in the list of callbacks, so that it saves what they have decided.

    Parameters
    ----------
    folder : Path
    attributes : dict of str to (object, tuple of str)
        For each callback whose state is saved: a name, the callback, its attributes.
    """

    def __init__(self, folder: Path, attributes: dict):
        super().__init__()
        self._folder, self._attributes = folder, attributes
        self._history: list[dict] = []

    def on_train_begin(self, logs=None):
        # The other callbacks begin anew in their own on_train_begin, which ran before this one.
        state = read_state(self._folder)
        if state is None:
            return
        self._history = state["history"]
        for name, values in state["callbacks"].items():
            for attribute, value in values.items():
                setattr(self._attributes[name][0], attribute, value)
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.load_weights(self._folder / state["weights"])

    def on_epoch_end(self, epoch, logs=None):
        self._history.append({"epoch": epoch} | {name: float(value) for name, value in (logs or {}).items()})
        weights = f"epoch-{epoch + 1:05d}.weights.h5"
        self.model.save_weights(self._folder / weights)
        best = max(self._folder.glob("best-*.weights.h5"), default=None)
        state = {
            "epochs_done": epoch + 1,
            "weights": weights,
            "best_weights": best.name if best else None,
            "history": self._history,
            "callbacks": {
                name: {attribute: _as_json(getattr(callback, attribute)) for attribute in attributes}
                for name, (callback, attributes) in self._attributes.items()
            },
        }
        partial = self._folder / ".state.json.part"
        partial.write_text(json.dumps(state, indent=1))
        os.replace(partial, self._folder / "state.json")
        for file in self._folder.glob("*.weights.h5"):
            if file.name not in (weights, state["best_weights"]):
                file.unlink()


def read_state(folder: Path) -> dict | None:
    """Return the saved state of a training, or None if there is none."""
    try:
        state = json.loads((folder / "state.json").read_text())
    except FileNotFoundError:
        return None
    for figures in state["history"]:
        figures.setdefault("seconds", 0.0)  # which earlier versions did not measure
    return state


def discard_unfinished(folder: Path, state: dict | None) -> None:
    """Delete what a killed training wrote after its last whole state."""
    named = () if state is None else (state["weights"], state["best_weights"])
    for file in folder.glob("*.weights.h5"):
        if file.name not in named:
            file.unlink()


def _as_json(value):
    return None if value is None else float(value) if not isinstance(value, (int, bool)) else value

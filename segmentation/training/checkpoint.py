"""All that it takes to resume a training that was killed at any moment."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segmentation.atomic import written_whole
from segmentation.bundle import BundleError, load_network, sha256_of
from segmentation.network.geometry import geometry_of
from segmentation.training.errors import TrainingError
from segmentation.training.resume import Run, discard_unfinished, read_state

#: Attributes of Keras' callbacks that are saved and restored, because ``on_train_begin`` resets them. A callback of
#: your own lists its attributes in an attribute ``saved_attributes``.
ATTRIBUTES: dict[type[keras.callbacks.Callback], tuple[str, ...]] = {
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
    keras.callbacks.EarlyStopping: ("best", "wait", "best_epoch"),
}


class Checkpoint(keras.callbacks.Callback):
    """Save the state of a training after each epoch, restore it at the start, and end with the best weights.

    Keras' own `BackupAndRestore` saves neither what the other callbacks know, such as the lowest validation loss, nor
    the state of dropout's random generators. And Keras writes and reads weights with a library that ends the process
    when the disk is full or a file is damaged. The state is one folder::

        state.json         epoch, history, attributes of the other callbacks, SHA-256 of the files that belong to it
        epoch-00012.npz    the last epoch: weights, random generators, optimiser
        epoch-00010.npz    the best epoch, with the lowest `monitor`

    ``state.json`` is replaced in one step, after the files that it names are on disk; files that it no longer names are
    deleted last. So whenever the process dies, the folder holds one whole state.

    Stands last in the list of callbacks; `callbacks` are the others, whose `ATTRIBUTES` are saved.
    """

    def __init__(self, folder: Path, callbacks: Iterable[keras.callbacks.Callback], monitor: str = "val_loss"):
        super().__init__()
        self._folder, self._callbacks, self._monitor = folder, list(callbacks), monitor
        self._history: list[dict] = []
        self._files: dict[str, str] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        state = read_state(self._folder)
        if state is None:
            return
        self._history, self._files = state["history"], state["files"]
        for name, callback, attributes in self._declared():
            for attribute in attributes:
                if attribute in state["callbacks"].get(name, {}):
                    setattr(callback, attribute, state["callbacks"][name][attribute])
        self.model.optimizer.build(self.model.trainable_variables)
        self._load(state["epochs_done"])

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._history.append({"epoch": epoch} | {name: float(value) for name, value in (logs or {}).items()})
        file = self._file(epoch + 1)
        with written_whole(file) as part:
            np.savez(part, *map(keras.ops.convert_to_numpy, self._variables()))
        self._files[file.name] = sha256_of(file)
        kept = {self._file(number).name for number in (epoch + 1, self._best_epoch())}
        self._files = {name: digest for name, digest in self._files.items() if name in kept}
        state = {
            "epochs_done": epoch + 1,
            "files": self._files,
            "history": self._history,
            "loss": describe_loss(self.model),
            "callbacks": {
                name: {attribute: _as_json(getattr(callback, attribute)) for attribute in attributes}
                for name, callback, attributes in self._declared()
            },
        }
        with written_whole(self._folder / "state.json") as part:
            part.write_text(json.dumps(state, indent=1))
        discard_unfinished(self._folder, state)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._history:
            self._load(self._best_epoch(), only_weights=True)

    def _best_epoch(self) -> int:
        """Return the epoch, counted from 1, in which the monitored figure was lowest; NaN never is."""
        figures = [row[self._monitor] for row in self._history]
        return 1 + min(range(len(figures)), key=lambda i: math.inf if math.isnan(figures[i]) else figures[i])

    def _file(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:05d}.npz"

    def _variables(self) -> list[keras.Variable]:
        """Return the weights, then all else that a step of the training changes."""
        seeds = [v for v in self.model.non_trainable_variables if v.path.endswith("seed_generator_state")]
        return [*self.model.weights, *seeds, *self.model.optimizer.variables]

    def _load(self, epoch: int, only_weights: bool = False) -> None:
        variables = self._variables()
        with np.load(self._file(epoch)) as saved:
            arrays = list(saved.values())
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
            raise TrainingError(f"{self._file(epoch)} is of another network than train.py builds now")
        for variable, array in zip(self.model.weights if only_weights else variables, arrays, strict=not only_weights):
            variable.assign(array)

    def _declared(self) -> Iterator[tuple[str, keras.callbacks.Callback, tuple[str, ...]]]:
        """Yield a unique name, the callback and its saved attributes, for each callback that has any."""
        seen: Counter[str] = Counter()
        for callback in self._callbacks:
            of_keras = (names for kind, names in ATTRIBUTES.items() if isinstance(callback, kind))
            attributes = next(of_keras, getattr(callback, "saved_attributes", ()))
            if attributes:
                name = type(callback).__name__
                seen[name] += 1
                yield name if seen[name] == 1 else f"{name} {seen[name]}", callback, attributes


def prepare_model(model: keras.Model, run: Run) -> None:
    """Check that the network can be trained and saved, and give it the weights of ``--init``, if there is one.

    Raise `TrainingError` if it cannot, is built in another way than that of ``--init``, or is compiled with another
    loss than the training to resume.
    """
    state, loss = run.resumed_from, describe_loss(model)
    if state and state.get("loss", loss) != loss:
        raise TrainingError(
            f"the loss is {loss}, but the training in {run.folder} began with {state['loss']}: restore it in train.py, "
            "or begin anew in another folder"
        )
    try:
        _, divisor = geometry_of(model)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    if run.config.crop_size % divisor:
        raise TrainingError(f"crop_size must be a multiple of {divisor} for this network, got {run.config.crop_size}")
    if run.init is None or state is not None:
        return
    try:
        trained = load_network(Path(run.init))
        layers = [[layer.name for layer in network.layers if layer.weights] for network in (trained, model)]
        for there, here in zip_longest(*layers):
            if there != here:
                raise ValueError(f"the layer {there or 'missing'} there is {here or 'missing'} here")
        model.set_weights(trained.get_weights())
    except BundleError as error:
        raise TrainingError(f"--init: {error}") from error
    except ValueError as error:
        raise TrainingError(
            f"the network in {run.init} is built in another way than this code builds it ({error}); leave out --init"
        ) from error


def describe_loss(model: keras.Model) -> dict:
    """Return the class and the settings of the loss that a model is compiled with, or the name of a function."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, keras.losses.Loss):
        settings = {name: value for name, value in loss.get_config().items() if name != "name"}  # Keras numbers them
        return {"class": type(loss).__name__} | json.loads(json.dumps(settings, default=str))
    return {"function": getattr(loss, "__name__", str(loss))}


def _as_json(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else float(value)

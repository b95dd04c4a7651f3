import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from segmentation import atomic
from segmentation.bundle import sha256_of
from segmentation.training import checkpoint
from segmentation.training.checkpoint import Checkpoint
from segmentation.training.errors import TrainingError
from segmentation.training.resume import discard_unfinished, read_state

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Stands for the end of the process."""


def make_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(8), keras.layers.Dropout(0.2, seed=3), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.AdamW(0.05), "mse", jit_compile=False)
    return model


X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = X.sum(axis=1)


def state_of(model):
    """Weights, the state of dropout's random generator, the optimiser."""
    return [keras.ops.convert_to_numpy(variable) for variable in [*model.variables, *model.optimizer.variables]]


class Watcher(keras.callbacks.Callback):
    """Remembers the model's variables after each epoch; stands before the checkpoint."""

    def __init__(self):
        super().__init__()
        self.after = {}

    def on_epoch_end(self, epoch, logs=None):
        self.after[epoch + 1] = state_of(self.model)


def train(folder, epochs, others=()):
    """Train, going on with what is in the folder; return the watcher."""
    state = read_state(folder)
    discard_unfinished(folder, state)
    model, watcher = make_model(), Watcher()
    used = [watcher, *others]
    used.append(Checkpoint(folder, used, monitor="loss"))
    begun = state["epochs_done"] if state else 0
    model.fit(X, Y, batch_size=4, epochs=epochs, initial_epoch=begun, shuffle=False, verbose=0, callbacks=used)
    watcher.final = state_of(model)
    return watcher


def assert_whole(folder, watcher):
    """The folder holds the state after one whole epoch, and this state can be loaded; return the epoch."""
    state = read_state(folder)
    if state is None:
        return 0
    assert all(sha256_of(folder / name) == digest for name, digest in state["files"].items())
    done = state["epochs_done"]
    assert [row["epoch"] for row in state["history"]] == list(range(done))
    with np.load(folder / f"epoch-{done:05d}.npz") as saved:
        loaded = list(saved.values())
    assert {array.tobytes() for array in loaded} == {array.tobytes() for array in watcher.after[done]}
    return done


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Five epochs without an interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, train(folder, 5)


def test_state_names_what_there_is_and_nothing_else_stays(undisturbed):
    folder, watcher = undisturbed
    state = read_state(folder)
    assert assert_whole(folder, watcher) == 5
    best = 1 + int(np.argmin([row["loss"] for row in state["history"]]))
    assert set(state["files"]) == {"epoch-00005.npz", f"epoch-{best:05d}.npz"}
    assert {file.name for file in folder.iterdir()} == {*state["files"], "state.json"}


# Where in the second epoch the process dies: before its weights are written, with half of them; before the new state is
# written beside the old, with half of it; before a file gets its name; before the old ones are deleted.
MOMENTS = ["no weights", "half the weights", "no state", "half a state", "rename", "rename of the state", "deletion"]


@pytest.fixture
def die(monkeypatch):
    """Let the process die in epoch 2, counted from 0, at one of `MOMENTS`."""

    def prepare(moment):
        progress = SimpleNamespace(epoch=-1)

        class Epochs(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                progress.epoch = epoch

        def patch(owner, name, chosen, before=None, only=lambda *args: True):
            real = getattr(owner, name)

            def fake(*args, **kwargs):
                if progress.epoch == 2 and moment in chosen and only(*args):
                    if before:
                        before(*args)
                    raise Killed
                return real(*args, **kwargs)

            monkeypatch.setattr(owner, name, fake)

        def half(file, *arrays):
            if moment == "half the weights":
                file.write_bytes(b"PK half of it")

        patch(checkpoint.np, "savez", ("no weights", "half the weights"), half)
        path = checkpoint.Path
        patch(
            path, "write_text", ("no state", "half a state"),
            lambda file, text: file.write_bytes(text[:40].encode()) if moment == "half a state" else None,
        )  # fmt: skip
        patch(atomic.os, "replace", ("rename",))
        patch(atomic.os, "replace", ("rename of the state",), only=lambda source, target: target.suffix == ".json")
        patch(path, "unlink", ("deletion",), only=lambda file, *rest: file.name.startswith("epoch-"))
        return Epochs()

    return prepare


@pytest.mark.parametrize("moment", MOMENTS)
def test_whenever_the_process_dies_the_folder_holds_one_whole_state(tmp_path, undisturbed, monkeypatch, die, moment):
    _, watcher = undisturbed
    with pytest.raises(Killed):
        train(tmp_path, 5, [die(moment)])
    monkeypatch.undo()
    done = assert_whole(tmp_path, watcher)
    assert done == (3 if moment == "deletion" else 2)
    # And what is gone on with ends where it would have ended.
    resumed = train(tmp_path, 5)
    assert sorted(resumed.after) == list(range(done + 1, 6))
    assert assert_whole(tmp_path, watcher) == 5
    for ours, theirs in zip(resumed.final, watcher.final, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert read_state(tmp_path)["history"] == read_state(undisturbed[0])["history"]
    assert len(list(tmp_path.iterdir())) == len(list(undisturbed[0].iterdir()))


def test_dead_before_the_first_epoch_ended(tmp_path, undisturbed):
    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path, 5, [Dies()])
    assert read_state(tmp_path) is None
    (tmp_path / "epoch-00001.npz").write_bytes(b"of an epoch that never ended")
    resumed = train(tmp_path, 5)
    for ours, theirs in zip(resumed.final, undisturbed[1].final, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_resuming_what_is_finished_changes_nothing(tmp_path, undisturbed):
    train(tmp_path, 5)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    resumed = train(tmp_path, 5)
    assert resumed.after == {}
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    for ours, theirs in zip(resumed.final, undisturbed[1].final, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_attributes_of_the_others_come_back_as_they_were(tmp_path):
    class Counter(keras.callbacks.Callback):
        """Begins anew in `on_train_begin`, as Keras' callbacks do."""

        saved_attributes = ("best", "wait", "lowest")

        def on_train_begin(self, logs=None):
            self.best, self.wait, self.lowest, self.name = None, 0, np.float32(9), True

        def on_epoch_end(self, epoch, logs=None):
            self.wait += 1
            self.lowest = np.float32(0.1) * self.wait

    def counting(epochs):
        counter, at_begin = Counter(), []
        look = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: at_begin.append((counter.best, counter.wait, counter.lowest))
        )
        train(tmp_path, epochs, [counter, look])
        return counter, at_begin

    counting(2)
    saved = json.loads((tmp_path / "state.json").read_text())["callbacks"]["Counter"]
    assert saved == {"best": None, "wait": 2, "lowest": pytest.approx(0.2)}
    counter, at_begin = counting(3)
    assert at_begin == [(None, 2, pytest.approx(0.2))]
    assert counter.wait == 3 and isinstance(counter.wait, int)


def test_unfinished_files_are_discarded(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / f"epoch-0000{number}.npz").touch()
    (tmp_path / "run.json").touch()
    discard_unfinished(tmp_path, {"files": {"epoch-00002.npz": "", "epoch-00001.npz": ""}})
    kept = ["epoch-00001.npz", "epoch-00002.npz", "run.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == kept
    discard_unfinished(tmp_path, None)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_no_state_is_none(tmp_path):
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "nowhere") is None


def test_two_callbacks_of_one_class_keep_their_own_state(tmp_path):
    def stoppers(epochs):
        two = [keras.callbacks.EarlyStopping("loss", patience=9), keras.callbacks.EarlyStopping("loss", mode="max")]
        train(tmp_path, epochs, two)
        return two

    first = [stopper.best for stopper in stoppers(2)]
    assert first[0] < first[1]
    assert [stopper.best for stopper in stoppers(2)] == first


def test_it_ends_with_the_weights_of_the_best_epoch(tmp_path):
    """Here the second is the best; a figure that is NaN is none."""

    class Figures(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["figure"] = [float("nan"), 1.0, 2.0, 1.0][epoch]

    model, watcher = make_model(), Watcher()
    used = [watcher, Figures()]
    model.fit(X, Y, batch_size=4, epochs=4, verbose=0, callbacks=[*used, Checkpoint(tmp_path, used, "figure")])
    weights = {array.tobytes() for array in watcher.after[2]}
    assert all(array.tobytes() in weights for array in model.get_weights())
    assert set(read_state(tmp_path)["files"]) == {"epoch-00002.npz", "epoch-00004.npz"}


def test_a_network_of_another_shape_is_not_given_the_weights(tmp_path, monkeypatch):
    train(tmp_path, 1)
    monkeypatch.setitem(globals(), "make_model", lambda: another_model())
    with pytest.raises(TrainingError, match="epoch-00001.npz is of another network"):
        train(tmp_path, 2)


def another_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5), keras.layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(0.05), "mse", jit_compile=False)
    return model

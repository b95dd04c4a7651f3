import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from segmentation import atomic
from segmentation.training import checkpoint
from segmentation.training.checkpoint import Checkpoint
from segmentation.training.resume import discard_unfinished, read_state


class Killed(BaseException):
    """Stands for the end of the process."""


def make_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(0.05), "mse", jit_compile=False)
    return model


X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = X.sum(axis=1)


def state_of(model):
    return [
        keras.ops.convert_to_numpy(variable) for variable in [*model.trainable_variables, *model.optimizer.variables]
    ]


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
    best = keras.callbacks.ModelCheckpoint(
        folder / "best-{epoch:05d}.weights.h5", "loss", save_best_only=True, save_weights_only=True
    )
    used = [watcher, *others, best]
    used.append(Checkpoint(folder, used))
    begun = state["epochs_done"] if state else 0
    model.fit(X, Y, batch_size=4, epochs=epochs, initial_epoch=begun, shuffle=False, verbose=0, callbacks=used)
    watcher.final = state_of(model)
    return watcher


def assert_whole(folder, watcher):
    """The folder holds the state after one whole epoch, and this state can be loaded; return the epoch."""
    state = read_state(folder)
    if state is None:
        return 0
    assert (folder / state["weights"]).exists() and (folder / state["best_weights"]).exists()
    done = state["epochs_done"]
    assert [row["epoch"] for row in state["history"]] == list(range(done))
    loaded = make_model()
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(folder / state["weights"])
    for ours, theirs in zip(state_of(loaded), watcher.after[done], strict=True):
        np.testing.assert_array_equal(ours, theirs)
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
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        {state["weights"], state["best_weights"], "state.json"}
    )
    losses = [row["loss"] for row in state["history"]]
    assert state["best_weights"] == f"best-{1 + int(np.argmin(losses)):05d}.weights.h5"
    assert state["callbacks"]["ModelCheckpoint"]["best"] == pytest.approx(min(losses))


# Where in the second epoch the process dies, as the number of a write: weights of the best epoch, weights of this one,
# half of them; the new state beside the old; its renaming; the deletion of the old files.
MOMENTS = ["best weights", "no weights", "half the weights", "no state", "half a state", "rename", "deletion"]


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

        def half(model, file, *args):
            if moment == "half the weights":
                file.write_bytes(b"\x89HDF half of it")

        patch(keras.Model, "save_weights", ("best weights",), only=lambda model, file, *rest: "best-" in str(file))
        patch(
            keras.Model, "save_weights", ("no weights", "half the weights"), half,
            only=lambda model, file, *rest: "epoch-" in str(file),
        )  # fmt: skip
        path = checkpoint.Path
        patch(
            path, "write_text", ("no state", "half a state"),
            lambda file, text: file.write_bytes(text[:40].encode()) if moment == "half a state" else None,
        )  # fmt: skip
        patch(atomic.os, "replace", ("rename",))
        patch(path, "unlink", ("deletion",))
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
    (tmp_path / "best-00001.weights.h5").write_bytes(b"of an epoch that never ended")
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
    for name in ("epoch-00002.weights.h5", "best-00001.weights.h5", "epoch-00003.weights.h5", "best-00003.weights.h5"):
        (tmp_path / name).touch()
    (tmp_path / "run.json").touch()
    discard_unfinished(tmp_path, {"weights": "epoch-00002.weights.h5", "best_weights": "best-00001.weights.h5"})
    kept = ["best-00001.weights.h5", "epoch-00002.weights.h5", "run.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == kept
    discard_unfinished(tmp_path, None)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_no_state_is_none(tmp_path):
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "nowhere") is None


def test_epochs_whose_seconds_were_not_measured_count_as_none(tmp_path):
    history = [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5, "seconds": 12.5}]
    (tmp_path / "state.json").write_text(json.dumps({"history": history, "callbacks": {}}))
    assert [figures["seconds"] for figures in read_state(tmp_path)["history"]] == [0.0, 12.5]


def test_a_training_of_an_earlier_version_is_resumed_under_present_names(tmp_path):
    old = {
        "history": [
            {"epoch": 0, "dice": 0.1, "val_dice": 0.2, "iou": 0.3, "val_iou": 0.4, "loss": 2.0, "seconds": 1.0}
        ],
        "callbacks": {"schedule": {"learning_rate": 0.1}, "early_stopping": {"wait": 3}, "best": {"best": 1.5}},
    }
    (tmp_path / "state.json").write_text(json.dumps(old))
    state = read_state(tmp_path)
    assert state["history"] == [
        {
            "epoch": 0,
            "crop_dice": 0.1,
            "val_crop_dice": 0.2,
            "crop_iou": 0.3,
            "val_crop_iou": 0.4,
            "loss": 2.0,
            "seconds": 1.0,
        }
    ]
    assert state["callbacks"]["EarlyStopping"] == {"wait": 3} and state["callbacks"]["ModelCheckpoint"] == {"best": 1.5}


def test_two_callbacks_of_one_class_keep_their_own_state(tmp_path):
    def stoppers(epochs):
        two = [keras.callbacks.EarlyStopping("loss", patience=9), keras.callbacks.EarlyStopping("loss", mode="max")]
        train(tmp_path, epochs, two)
        return two

    first = [stopper.best for stopper in stoppers(2)]
    assert first[0] < first[1]
    assert [stopper.best for stopper in stoppers(2)] == first


def test_it_ends_with_the_weights_of_the_best_epoch(tmp_path):
    """Here the first epoch is the best: the highest loss is asked for."""
    model, watcher = make_model(), Watcher()
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best-{epoch:05d}.weights.h5", "loss", mode="max", save_best_only=True, save_weights_only=True
    )
    used = [watcher, best]
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[*used, Checkpoint(tmp_path, used)])
    for ours, theirs in zip(state_of(model), watcher.after[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)

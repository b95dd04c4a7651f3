import csv
import hashlib
import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from segmentation.training import callbacks
from segmentation.training.callbacks import Interrupted, LearningRateSchedule
from segmentation.training.checkpoint import read_state
from segmentation.training.fit import TrainingError, fit, load_initial_weights, new_model, new_network
from segmentation.training.sequence import NucleiSequence
from segmentation.training.windows import MiddleWindows

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="what is trained on is recorded by TF")

STEPS = 16


def digest(images):
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def subsets(drawn_images):
    """Five images to train on, three to validate on."""
    row = type("Row", (), {"kind": None, "group": None})()
    ids = drawn_images.ids
    return drawn_images.select(dict.fromkeys(ids[:5], row)), drawn_images.select(dict.fromkeys(ids[5:], row))


def recording(model, kill_at=None):
    """Make a model write down what its train steps are really given; `kill_at`: send SIGTERM in that step."""
    import tensorflow as tf

    seen, train_step = [], model.train_step

    def record(images):
        seen.append(digest(images))
        if len(seen) == kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return np.int32(0)

    def recorded_step(data):
        tf.numpy_function(record, [data[0]], tf.int32)
        return train_step(data)

    model.train_step = recorded_step
    return seen


def run(config, subsets, folder, kill_at=None, **options):
    """Train in a fresh model; return it, the history (None if interrupted) and the digests of the batches."""
    model = new_model(config)
    seen = recording(model, kill_at)
    try:
        history = fit(model, config, *subsets, folder, verbose=0, **options)
    except Interrupted:
        history = None
    return model, history, seen


def read_table(folder):
    with open(folder / "history.csv", newline="") as table:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(table)]


def assert_same_history(ours, theirs):
    assert [row["epoch"] for row in ours] == [row["epoch"] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one["learning_rate"] == other["learning_rate"]
        assert one["learning_rate_used"] == other["learning_rate_used"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, subsets, tiny_config):
    """Four epochs at once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, *run(tiny_config(), subsets, folder)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, subsets, tiny_config):
    """The same, with a signal in the middle of the third epoch, gone on with in a fresh model."""
    folder = tmp_path_factory.mktemp("resumed")
    _, history, before = run(tiny_config(), subsets, folder, kill_at=2 * STEPS + 5)
    assert history is None
    state, table = read_state(folder / "checkpoint"), read_table(folder)
    return folder, before, state, table, *run(tiny_config(), subsets, folder)


def test_loss_falls(undisturbed):
    _, _, history, _ = undisturbed
    assert len(history) == 4
    # Four epochs of warming up: enough for the training loss to show it.
    assert history[-1]["loss"] < 0.85 * history[0]["loss"]


def test_trained_on_the_batches_of_the_sequence_in_their_order(undisturbed, subsets, tiny_config):
    """Whatever Keras draws besides, to learn the signature or ahead of time."""
    seen = undisturbed[3]
    config = tiny_config()
    sequence = NucleiSequence(
        subsets[0],
        config.targets,
        batch_size=config.batch_size,
        crop_size=config.crop_size,
        seed=config.seed,
        workers=1,
    )
    assert len(sequence) == STEPS
    expected = []
    for epoch in range(config.epochs):
        sequence.epoch = epoch
        expected += [digest(sequence[index][0]) for index in range(STEPS)]
    assert seen == expected
    assert len(set(seen)) == 4 * STEPS


def test_each_step_has_the_rate_of_the_schedule(undisturbed, tiny_config):
    config = tiny_config()
    schedule = LearningRateSchedule(STEPS, config.epochs)
    last_steps = [STEPS * (epoch + 1) - 1 for epoch in range(4)]
    expected = [config.learning_rate * schedule.factor(step) for step in last_steps]
    np.testing.assert_allclose([row["learning_rate_used"] for row in undisturbed[2]], expected, rtol=1e-6)


def test_model_is_left_with_the_weights_of_the_best_epoch(undisturbed, subsets, tiny_config):
    _, model, history, _ = undisturbed
    windows = MiddleWindows(subsets[1], "centre_offsets", 2, 32)
    losses = model.evaluate(windows, verbose=0, return_dict=True)
    best = min(history, key=lambda row: row["val_loss"])
    assert losses["loss"] == pytest.approx(best["val_loss"], rel=1e-4)
    assert losses["dice"] == pytest.approx(best["val_dice"], abs=1e-4)


def test_history_is_on_disk(undisturbed):
    folder, _, history, _ = undisturbed
    for ours, theirs in zip(read_table(folder), history, strict=True):
        assert ours == pytest.approx(theirs)


def test_interrupted_it_keeps_the_last_whole_epoch(resumed, undisturbed):
    _, before, state, table, *_ = resumed
    assert state["epochs_done"] == 2 and len(table) == 2
    assert before[: 2 * STEPS] == undisturbed[3][: 2 * STEPS] and len(before) == 2 * STEPS + 5


def test_resumed_it_is_the_training_that_it_would_have_been(resumed, undisturbed):
    folder, _, _, _, model, history, seen = resumed
    assert seen == undisturbed[3][2 * STEPS :]
    assert_same_history(history, undisturbed[2])
    for ours, theirs in zip(read_table(folder), history, strict=True):
        assert ours == pytest.approx(theirs)
    for ours, theirs in zip(model.get_weights(), undisturbed[1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_finished_it_is_not_trained_again(resumed, subsets, tiny_config):
    folder, *_, model, history, _ = resumed
    again, same, seen = run(tiny_config(), subsets, folder)
    assert seen == [] and same == history
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def no_improvement(monkeypatch):
    """Let the validation loss rise from epoch to epoch, as if after the first nothing more could be learnt."""
    evaluate = keras.Model.evaluate

    def rising(self, *args, **kwargs):
        logs = evaluate(self, *args, **kwargs)
        self.evaluations = getattr(self, "evaluations", 0) + 1
        return logs | {"loss": 1.0 + 0.01 * self.evaluations + getattr(self, "before", 0)}

    monkeypatch.setattr(keras.Model, "evaluate", rising)


def test_patience_and_plateau_survive_a_resume(tmp_path, subsets, tiny_config, no_improvement):
    config = tiny_config(epochs=50, patience=6)
    _, history, _ = run(config, subsets, tmp_path, kill_at=4 * STEPS + 2)
    assert history is None
    state = read_state(tmp_path / "checkpoint")["callbacks"]
    assert state["early_stopping"]["wait"] == 3 and state["reduce_learning_rate"]["wait"] == 1

    model = new_model(config)
    model.before = 0.04
    history = fit(model, config, *subsets, tmp_path, verbose=0)
    # The first epoch is the best; six more without improvement. Halved after each two of them.
    assert [row["epoch"] for row in history] == list(range(7))
    rates = config.learning_rate / np.array([1, 1, 1, 2, 2, 4, 4])
    np.testing.assert_allclose([row["learning_rate"] for row in history], rates)
    schedule = LearningRateSchedule(STEPS, config.epochs)
    rates *= [schedule.factor(STEPS * (epoch + 1) - 1) for epoch in range(7)]
    np.testing.assert_allclose([row["learning_rate_used"] for row in history], rates, rtol=1e-6)
    state = read_state(tmp_path / "checkpoint")
    assert state["best_weights"] == "best-00001.weights.h5"
    # There is nothing to go on with, unless more patience is asked for.
    assert fit(new_model(config), config, *subsets, tmp_path, verbose=0) == history
    assert len(fit(new_model(config), replace(config, patience=config.patience + 1), *subsets, tmp_path, verbose=0)) > 7


def test_a_loss_that_explodes_is_explained(tmp_path, subsets, tiny_config):
    config = tiny_config(learning_rate=1e30, epochs=2)
    with pytest.raises(TrainingError, match=r"NaN or infinite.*lower --learning-rate than 1e\+30"):
        fit(new_model(config), config, *subsets, tmp_path, verbose=0)


def test_an_error_of_another_kind_is_not_called_nan(tmp_path, subsets, tiny_config, monkeypatch):
    def broken(self, epoch, logs=None):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(callbacks.EpochSetter, "on_epoch_begin", broken)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="the disk is full") as raised:
        fit(new_model(tiny_config()), tiny_config(), *subsets, tmp_path, verbose=0)
    assert not isinstance(raised.value, TrainingError)
    assert signal.getsignal(signal.SIGTERM) is before


def test_time_limit_ends_the_training_and_keeps_the_best(tmp_path, subsets, tiny_config, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    limit = callbacks.TimeLimit(0.0, 120.0, reserve=25.0)
    config = tiny_config(epochs=10_000)
    _, history, seen = run(config, subsets, tmp_path, time_limit=limit)
    assert 1 <= len(history) < 20 and len(seen) < 20 * STEPS
    state = read_state(tmp_path / "checkpoint")
    assert state["best_weights"]
    # Cooled down for the end that the clock set.
    assert history[-1]["learning_rate_used"] < 0.1 * history[-1]["learning_rate"]


def test_tensorboard_on_request(tmp_path, subsets, tiny_config):
    config = tiny_config(epochs=1)
    run(config, subsets, tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["epochs_done"] == 1


def test_a_new_model_takes_the_weights_of_a_trained_one(tmp_path, undisturbed, tiny_config):
    trained = undisturbed[1]
    network = new_network(tiny_config())
    network.set_weights(trained.get_weights())
    network.save(tmp_path / "model.keras")
    # Another seed: without the weights, the two differ.
    model = new_model(tiny_config(seed=11))
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    expected = trained.predict_on_batch(images)
    assert not np.allclose(model.predict_on_batch(images), expected, atol=1e-3)
    load_initial_weights(model, tmp_path)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-5)


def test_a_wider_network_begins_with_what_a_trained_one_computes(tmp_path, tiny_config):
    trained = new_network(tiny_config())
    trained.save(tmp_path / "model.keras")
    model = new_model(tiny_config(base_filters=6, seed=11))
    load_initial_weights(model, tmp_path)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_allclose(model.predict_on_batch(images), trained.predict_on_batch(images), atol=1e-5)


def test_weights_of_a_network_built_otherwise_are_refused(tmp_path, tiny_config):
    new_network(tiny_config(base_filters=5)).save(tmp_path / "model.keras")
    model = new_model(tiny_config())
    with pytest.raises(TrainingError, match="built in another way .* leave out --init"):
        load_initial_weights(model, tmp_path)

"""The training of ``train.py`` in this process: what it trains on, how it is resumed, what it is left with."""

import hashlib
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

import train
from segmentation.bundle import load_bundle
from segmentation.data.splits import SplitRow, write_split
from segmentation.network import unet
from segmentation.prediction.engines import open_engine
from segmentation.training import callbacks, export
from segmentation.training.callbacks import LearningRateSchedule
from segmentation.training.checkpoint import prepare_model
from segmentation.training.config import TrainingConfig
from segmentation.training.errors import TrainingError
from segmentation.training.resume import Run, read_state
from segmentation.training.sequence import CenterCrops, NucleiSequence

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="what is trained on is recorded by TF")

STEPS = 16
TINY = dict(base_filters=4, depth=2, dropout=0.3, epochs=4, batch_size=2, crop_size=32, seed=3)
HISTORY = pd.DataFrame({"epoch": [0], "val_loss": [1.0]})
FIGURES = dict.fromkeys(("dice", "iou", "ap50", "mean_ap", "bowl"), {"value": 0.5})


def digest(images):
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_drawn):
    """A folder of eight drawn images, five to train on, three to validate on; and the arguments that name it."""
    folder = tmp_path_factory.mktemp("drawn")
    names = sorted(write_drawn(folder / "data", 8))
    write_split({name: SplitRow("train" if n < 5 else "val") for n, name in enumerate(names)}, folder / "split.csv")
    return ["--data", folder / "data", "--split", folder / "split.csv"]


@pytest.fixture(scope="module")
def subsets(data, tmp_path_factory):
    """The images of the training."""
    run = Run(tmp_path_factory.mktemp("none"), data=str(data[1]), split=str(data[3]))
    loaded = run.load_data(tmp_path_factory.mktemp("caches"))
    return loaded.train, loaded.val


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


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Train; return the status, the model that would be saved, the history and the digests of the batches."""
    home = tmp_path_factory.mktemp("home")

    def run(folder, *options, kill_at=None, before=0, **settings):
        given = [f"--{name.replace('_', '-')}={value}" for name, value in (TINY | settings).items()]
        resume = ["--resume"] if (folder / "checkpoint" / "state.json").exists() else []
        seen, saved, build_unet = [], [], unet.build_unet

        def build(*args, **kwargs):
            model = build_unet(*args, **kwargs)
            model.before = before
            seen.append(recording(model, kill_at))
            return model

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "data_folder", lambda: home)  # for the cache
            patch.setattr(unet, "build_unet", build)
            patch.setattr(export, "save_model", lambda *args: saved.append(args[0]) or (HISTORY, {"figures": FIGURES}))
            status = train.main([*map(str, data), "--output", str(folder), *given, *resume, *options])
        state = read_state(folder / "checkpoint")
        return status, saved[0] if saved else None, state["history"] if state else None, seen[0]

    return run


def read_table(folder):
    return pd.read_csv(folder / "checkpoint" / "history.csv").to_dict("records")


def assert_same_history(ours, theirs):
    assert [row["epoch"] for row in ours] == [row["epoch"] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one["learning_rate"] == other["learning_rate"]
        assert one["learning_rate_used"] == other["learning_rate_used"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, run):
    """Four epochs at once: the folder, the model, the history, the batches."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, *result = run(folder)
    assert status == 0
    return folder, *result


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, run):
    """The same, with processes that draw the crops and a signal in the middle of the third epoch, then resumed."""
    folder = tmp_path_factory.mktemp("resumed")
    status, model, _, before = run(folder, kill_at=2 * STEPS + 5, workers=2)
    assert status == 128 + signal.SIGTERM and model is None
    state, table = read_state(folder / "checkpoint"), read_table(folder)
    status, *result = run(folder, workers=1)
    assert status == 0
    return folder, before, state, table, *result


def test_loss_falls(undisturbed):
    _, _, history, _ = undisturbed
    assert len(history) == 4
    # Four epochs of warming up: enough for the training loss to show it.
    assert history[-1]["loss"] < 0.85 * history[0]["loss"]


def test_trained_on_the_batches_of_the_sequence_in_their_order(undisturbed, subsets):
    """Whatever Keras draws besides, to learn the signature or ahead of time."""
    seen = undisturbed[3]
    sequence = NucleiSequence(subsets[0], "centre_offsets", batch_size=2, crop_size=32, seed=3)
    assert len(sequence) == STEPS
    expected = []
    for epoch in range(4):
        sequence.epoch = epoch
        expected += [digest(sequence[index][0]) for index in range(STEPS)]
    assert seen == expected
    assert len(set(seen)) == 4 * STEPS


def test_each_step_has_the_rate_of_the_schedule(undisturbed):
    config = TrainingConfig(**TINY)
    schedule = LearningRateSchedule(STEPS, config.epochs)
    last_steps = [STEPS * (epoch + 1) - 1 for epoch in range(4)]
    expected = [config.learning_rate * schedule.factor(step) for step in last_steps]
    np.testing.assert_allclose([row["learning_rate_used"] for row in undisturbed[2]], expected, rtol=1e-6)


def test_model_is_left_with_the_weights_of_the_best_epoch(undisturbed, subsets):
    _, model, history, _ = undisturbed
    windows = CenterCrops(subsets[1], "centre_offsets", batch_size=2, crop_size=32)
    losses = model.evaluate(windows, verbose=0, return_dict=True)
    best = min(history, key=lambda row: row["val_loss"])
    assert losses["loss"] == pytest.approx(best["val_loss"], rel=1e-4)
    assert losses["crop_dice"] == pytest.approx(best["val_crop_dice"], abs=1e-4)


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


def test_finished_it_is_not_trained_again(resumed, run):
    folder, *_, model, history, _ = resumed
    _, again, same, seen = run(folder)
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


@pytest.mark.slow
def test_patience_and_plateau_survive_a_resume(tmp_path, run, no_improvement):
    patience = {"epochs": 50, "patience": 6}
    assert run(tmp_path, kill_at=4 * STEPS + 2, **patience)[0] == 143
    state = read_state(tmp_path / "checkpoint")["callbacks"]
    assert state["EarlyStopping"]["wait"] == 3 and state["ReduceLROnPlateau"]["wait"] == 1

    _, _, history, _ = run(tmp_path, before=0.04, **patience)
    # The first epoch is the best; six more without improvement. Halved after each two of them.
    assert [row["epoch"] for row in history] == list(range(7))
    config = TrainingConfig(**TINY | patience)
    rates = config.learning_rate / np.array([1, 1, 1, 2, 2, 4, 4])
    np.testing.assert_allclose([row["learning_rate"] for row in history], rates)
    schedule = LearningRateSchedule(STEPS, config.epochs)
    rates *= [schedule.factor(STEPS * (epoch + 1) - 1) for epoch in range(7)]
    np.testing.assert_allclose([row["learning_rate_used"] for row in history], rates, rtol=1e-6)
    assert set(read_state(tmp_path / "checkpoint")["files"]) == {"epoch-00001.npz", "epoch-00007.npz"}
    # There is nothing left to train, unless more patience is asked for.
    assert run(tmp_path, **patience)[2] == history
    assert len(run(tmp_path, **patience | {"patience": 7})[2]) > 7


@pytest.mark.slow
def test_a_loss_that_explodes_is_explained(tmp_path, run, capsys):
    assert run(tmp_path, learning_rate=1e30, epochs=2)[0] == 2
    error = capsys.readouterr().err
    assert "NaN or infinite" in error and "lower --learning-rate than 1e+30" in error and "Traceback" not in error


def test_an_error_of_another_kind_is_not_called_nan(tmp_path, run, monkeypatch):
    def broken(self, epoch, logs=None):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(callbacks.EpochSetter, "on_epoch_begin", broken)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="the disk is full"):
        run(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_time_limit_ends_the_training_and_keeps_the_best(tmp_path, run, monkeypatch):
    from segmentation.training import arguments

    clock = iter(range(10**6))
    for module in (callbacks, arguments):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    _, _, history, seen = run(tmp_path, "--time-limit=2", epochs=10_000)
    assert 1 <= len(history) < 20 and len(seen) < 20 * STEPS
    # Cooled down for the end that the clock set.
    assert history[-1]["learning_rate_used"] < 0.1 * history[-1]["learning_rate"]


@pytest.mark.slow
def test_tensorboard_on_request(tmp_path, run):
    run(tmp_path, "--tensorboard", epochs=1)
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["epochs_done"] == 1


def network(seed=3, base_filters=4):
    return unet.build_unet(("sigmoid", "linear"), base_filters=base_filters, depth=2, seed=seed)


def test_a_new_model_takes_the_weights_of_a_trained_one(tmp_path):
    trained, model = network(), network(seed=11)
    trained.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    expected = trained.predict_on_batch(images)
    assert not np.allclose(model.predict_on_batch(images), expected, atol=1e-3)
    prepare_model(model, Run(tmp_path / "new", init=str(tmp_path)))
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-5)


def test_weights_of_a_network_built_otherwise_are_refused(tmp_path):
    network(base_filters=5).save(tmp_path / "model.keras")
    with pytest.raises(TrainingError, match="built in another way .* leave out --init"):
        prepare_model(network(), Run(tmp_path / "new", init=str(tmp_path)))


@pytest.mark.slow
def test_another_network_in_train_py_gives_a_right_bundle(tmp_path, data):
    """What someone gets who writes `build_classic_unet(...)` in place of `build_unet(...)`."""
    source = Path(train.__file__).read_text()
    for ours, theirs in (
        ("network.unet import build_unet", "network.classic_unet import build_classic_unet"),
        ("build_unet(", "build_classic_unet("),
        (" batch_normalisation=speed.batch_normalisation(devices.count),", ""),
    ):
        assert source.count(ours) == 1
        source = source.replace(ours, theirs)
    edited = {"__name__": "edited", "__file__": str(tmp_path / "project" / "train.py"), "__doc__": train.__doc__}
    exec(compile(source, "edited train.py", "exec"), edited)
    given = [f"--{name.replace('_', '-')}={value}" for name, value in (TINY | {"epochs": 1}).items()]
    assert edited["main"]([*map(str, data), "--output", str(tmp_path / "model"), *given]) == 0
    bundle = load_bundle(tmp_path / "model")
    assert (bundle.receptive_field_radius, bundle.divisor) == (23, 4)

    # A tile with such a margin gives the output of the whole image.
    network = open_engine(bundle)
    image = np.random.default_rng(0).random((1, 64, 128, 3), np.float32)
    whole, tile = network(image), network(image[:, :, 32:])
    np.testing.assert_allclose(tile[:, :, 23:], whole[:, :, 32 + 23 :], atol=1e-4)
    assert np.abs(tile[:, :, :16] - whole[:, :, 32 : 32 + 16]).max() > 1e-3

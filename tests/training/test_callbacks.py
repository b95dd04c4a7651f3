import os
import signal
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from segmentation.training import callbacks
from segmentation.training.callbacks import (
    EpochSetter,
    InterruptHandler,
    LearningRateSchedule,
    RefuseNaN,
    Stopwatch,
    TimeLimit,
)
from segmentation.training.errors import Interrupted, TrainingError


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns: `clock.now` in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def model_with(learning_rate):
    """What these callbacks touch of a model."""
    return SimpleNamespace(
        optimizer=SimpleNamespace(learning_rate=learning_rate), stop_training=False, metrics=[], get_weights=list
    )


def test_the_seconds_of_an_epoch_are_among_its_figures(clock):
    stopwatch, logs = Stopwatch(), {"loss": 1.0}
    for epoch, seconds in enumerate((90.0, 12.5)):
        stopwatch.on_epoch_begin(epoch)
        clock.now += seconds
        stopwatch.on_epoch_end(epoch, logs)
        assert logs == {"loss": 1.0, "seconds": seconds}
        clock.now += 7.0


class Training:
    """Calls callbacks as `keras.Model.fit` does, without training anything."""

    def __init__(self, used, learning_rate=0.1, steps=4):
        self.model, self.used, self.steps = model_with(learning_rate), used, steps
        self.rates = []
        for callback in used:
            callback.set_model(self.model)

    def call(self, name, *args):
        for callback in self.used:
            getattr(callback, name)(*args)

    def epoch(self, epoch, val_loss=1.0):
        """Run one epoch; return the logs as the callbacks left them."""
        self.call("on_epoch_begin", epoch)
        for step in range(self.steps):
            self.call("on_train_batch_begin", step)
            self.rates.append(float(self.model.optimizer.learning_rate))
            self.call("on_train_batch_end", step, {"loss": 1.0})
        logs = {"loss": 1.0, "val_loss": val_loss}
        self.call("on_epoch_end", epoch, logs)
        return logs


# The schedule


def test_factor_rises_stays_and_falls():
    schedule = LearningRateSchedule(steps_per_epoch=100, epochs=10, cooldown=0.4, warmup_steps=50)
    assert schedule.factor(0) == pytest.approx(1 / 50)
    assert schedule.factor(24) == pytest.approx(0.5)
    for step in (49, 50, 300, 600):
        assert schedule.factor(step) == 1
    assert schedule.factor(800) == pytest.approx(0.5)
    assert schedule.factor(900) == pytest.approx(0.25)
    assert schedule.factor(999) == pytest.approx(0.005)
    rising = [schedule.factor(step) for step in range(50)]
    falling = [schedule.factor(step) for step in range(600, 1000)]
    assert np.all(np.diff(rising) > 0) and np.all(np.diff(falling) <= 0)
    assert min(falling) == 0.005


def test_a_training_shorter_than_the_warm_up_is_cooled_down_too():
    schedule = LearningRateSchedule(steps_per_epoch=16, epochs=2, warmup_steps=100)
    factors = [schedule.factor(step) for step in range(32)]
    assert np.argmax(factors) not in (0, 31) and max(factors) < 0.32 and factors[-1] < 0.1


def test_factor_follows_the_clock_where_that_ends_earlier():
    limit = SimpleNamespace(fraction=0.0)
    schedule = LearningRateSchedule(100, 1000, limit, cooldown=0.5, warmup_steps=1)
    for fraction, factor in ((0.0, 1), (0.5, 1), (0.75, 0.5), (0.9, 0.2), (1.0, 0.005)):
        limit.fraction = fraction
        assert schedule.factor(200) == pytest.approx(factor)
    # And the steps where those do.
    limit.fraction = 0.1
    assert schedule.factor(75_000) == pytest.approx(0.5)


def test_each_step_has_its_own_rate():
    schedule = LearningRateSchedule(4, 5, cooldown=0.4, warmup_steps=2)
    training = Training([schedule], learning_rate=0.1)
    training.call("on_train_begin")
    logs = [training.epoch(epoch) for epoch in range(5)]
    np.testing.assert_allclose(training.rates, [0.1 * schedule.factor(step) for step in range(20)])
    assert [row["learning_rate_used"] for row in logs] == training.rates[3::4]
    # Between epochs the others see the rate without the factor.
    assert training.model.optimizer.learning_rate == 0.1


def test_a_resumed_schedule_goes_on_where_it_was():
    undisturbed = Training([LearningRateSchedule(4, 6, warmup_steps=10)])
    undisturbed.call("on_train_begin")
    for epoch in range(6):
        undisturbed.epoch(epoch)
    resumed = Training([LearningRateSchedule(4, 6, warmup_steps=10)])
    resumed.call("on_train_begin")
    for epoch in range(2, 6):
        resumed.epoch(epoch)
    np.testing.assert_allclose(resumed.rates, undisturbed.rates[8:])


def test_what_the_plateau_halves_stays_halved():
    schedule = LearningRateSchedule(4, 100, warmup_steps=1)
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2, min_lr=0.02)
    training = Training([schedule, plateau])
    training.call("on_train_begin")
    seen = []
    for epoch, val_loss in enumerate([1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]):
        seen.append(training.epoch(epoch, val_loss)["learning_rate_used"])
    # Two epochs without improvement: halved; again; and not below the least.
    np.testing.assert_allclose(seen, [0.1] * 4 + [0.05] * 2 + [0.025] * 2 + [0.02] * 2)


def test_plateau_is_not_confused_by_cooling_down():
    """It halves the rate without the factor, once, in the middle of the cool-down."""
    schedule = LearningRateSchedule(4, 10, cooldown=1.0, warmup_steps=1)
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=3, min_lr=1e-3)
    training = Training([schedule, plateau])
    training.call("on_train_begin")
    for epoch in range(6):
        logs = training.epoch(epoch)
        assert logs["learning_rate"] == pytest.approx(0.1 if epoch < 4 else 0.05)
    expected = [0.1 * (0.5 if step >= 16 else 1) * (1 - step / 40) for step in range(24)]
    np.testing.assert_allclose(training.rates, expected)


# Epochs


def test_sequence_is_told_the_epoch():
    sequence = SimpleNamespace(epoch=0)
    EpochSetter(sequence).on_epoch_begin(7)
    assert sequence.epoch == 7


# The time limit


def test_time_is_kept_for_validation_and_export(clock):
    limit = TimeLimit(start=990.0, seconds=110, reserve=25)  # ends at 1100, training at 1075
    limit.set_model(model_with(0.1))
    limit.on_train_begin()
    assert limit.fraction == 0
    clock.now = 1037.5
    assert limit.fraction == pytest.approx(0.5)
    limit.on_test_begin()
    clock.now = 1040.5
    limit.on_test_end()  # 3 s, ten times: training ends at 1045
    assert limit.fraction == pytest.approx(40.5 / 45)
    limit.on_train_batch_end(0)
    assert not limit.model.stop_training
    clock.now = 1045
    limit.on_train_batch_end(1)
    assert limit.model.stop_training and limit.fraction == 1
    clock.now = 2000
    assert limit.fraction == 1


def test_a_limit_that_is_over_stops_after_the_first_step(clock):
    limit = TimeLimit(start=900.0, seconds=20)
    limit.set_model(model_with(0.1))
    limit.on_train_begin()
    assert limit.fraction == 1
    limit.on_train_batch_end(0)
    assert limit.model.stop_training


def test_preparing_does_not_count_as_training(clock):
    limit = TimeLimit(start=1000.0, seconds=225)
    clock.now = 1100
    limit.on_train_begin()
    assert limit.fraction == 0
    clock.now = 1150
    assert limit.fraction == pytest.approx(0.5)


# Interruption


@pytest.fixture
def handlers():
    """Handlers of our own, to be found again afterwards."""
    received = []

    def handle(number, frame):
        received.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    yield received, handle
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_test_batch_end"])
def test_a_signal_ends_the_training_after_the_step(handlers, number, hook):
    received, handle = handlers
    with InterruptHandler() as handler:
        getattr(handler, hook)(0)
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert received == []
        with pytest.raises(Interrupted, match=number.name) as interrupted:
            getattr(handler, hook)(1)
    assert interrupted.value.signal_number == number
    assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == handle


def test_a_second_signal_goes_to_whoever_had_it_before(handlers):
    received, _ = handlers
    with InterruptHandler():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert received == [signal.SIGINT]


def test_handlers_are_given_back_at_the_end(handlers):
    received, handle = handlers
    with InterruptHandler():
        assert signal.getsignal(signal.SIGTERM) != handle
    assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == handle
    assert received == []


def test_interruption_inside_of_fit(handlers):
    _, handle = handlers
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    steps = []

    class Killer(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            steps.append(batch)
            if batch == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"), InterruptHandler() as interrupts:
        model.fit(np.zeros((20, 2)), np.zeros(20), batch_size=2, verbose=0, callbacks=[Killer(), interrupts])
    assert steps == [0, 1, 2, 3]
    assert signal.getsignal(signal.SIGTERM) == handle


def test_handlers_are_given_back_when_training_fails(handlers):
    _, handle = handlers
    with pytest.raises(RuntimeError, match="full"), InterruptHandler():
        raise RuntimeError("the disk is full")
    assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == handle


# A loss that is no number


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused_with_what_to_do(loss):
    callback = RefuseNaN()
    callback.set_model(model_with(0.25))
    callback.on_train_begin()
    callback.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(TrainingError, match="NaN or infinite.*lower --learning-rate than 0.25"):
        callback.on_train_batch_end(1, {"loss": loss})


def test_without_a_limit_no_time_is_used_up(clock):
    limit = TimeLimit(1000.0, None)
    clock.now = 1e9
    assert limit.fraction == 0

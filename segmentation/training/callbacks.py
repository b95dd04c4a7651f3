"""What happens around the steps of a training, apart from what Keras' own callbacks do."""

import gc
import math
import signal
import time
import traceback
from types import FrameType, TracebackType
from typing import Self

import keras

from segmentation.training.errors import Interrupted, TrainingError


class InterruptHandler(keras.callbacks.Callback):
    """Raise `Interrupted` after the running step when Ctrl-C or SIGTERM comes; a second one ends the process at once.

    The unfinished epoch is given up: a resumed training begins it again. Use it as a context around ``model.fit``; at
    its end the signals have their previous handlers again.
    """

    def __enter__(self) -> Self:
        self._received: int | None = None
        self._previous = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._restore()
        if kind and self._received is not None:  # whatever the signal did to another process of the training
            # When Python ends, its other threads stop, and TensorFlow would wait for those that draw batches for ever:
            # end them now, with the frames of `fit` and with what Keras keeps to validate on.
            traceback.clear_frames(trace)
            self.model._eval_epoch_iterator = None
            gc.collect()
            raise Interrupted(self._received) from None

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        self._restore()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._received is not None:
            raise Interrupted(self._received)

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.on_train_batch_end(batch)


class EpochSetter(keras.callbacks.Callback):
    """Tell a `NucleiSequence` which epoch it draws for."""

    def __init__(self, sequence: keras.utils.Sequence):
        super().__init__()
        self._sequence = sequence

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._sequence.epoch = epoch


class Stopwatch(keras.callbacks.Callback):
    """Add to the metrics of an epoch how many seconds it took, validation included."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["seconds"] = round(time.monotonic() - self._started, 3)


class RefuseNaN(keras.callbacks.Callback):
    """Raise `TrainingError`, which says what to do, when the loss becomes NaN or infinite."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._learning_rate = _learning_rate_of(self.model)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            raise TrainingError(
                "the loss became NaN or infinite. The state after the last whole epoch is kept. Train again with a "
                f"lower --learning-rate than {self._learning_rate:g}"
            )


class TimeLimit(keras.callbacks.Callback):
    """Stop training in time for validation and export to end before a limit.

    The process started at `start`, by `time.monotonic`, and may take so many `seconds`; None is no limit. For the final
    scores, which are of whole images, `reserve` seconds and ten times the duration of a validation are kept.
    """

    def __init__(self, start: float, seconds: float | None, reserve: float = 25.0):
        super().__init__()
        self._first_step = time.monotonic()
        self._end = None if seconds is None else start + seconds - reserve
        self._validation_seconds = 0.0

    @property
    def fraction(self) -> float:
        """Fraction of the time for training that is used up; 0 without a limit."""
        if self._end is None:
            return 0.0
        total = self._end - 10 * self._validation_seconds - self._first_step
        return min(1.0, (time.monotonic() - self._first_step) / total) if total > 0 else 1.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._first_step = time.monotonic()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._test_start = time.monotonic()

    def on_test_end(self, logs: dict | None = None) -> None:
        self._validation_seconds = time.monotonic() - self._test_start

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.fraction >= 1:
            self.model.stop_training = True


class LearningRateSchedule(keras.callbacks.Callback):
    """Warm up over the first steps, and cool down to zero over the last part of the epochs or of the time.

    Cooling down averages out the noise of the last steps; on a short training it brings more than anything else. The
    rate rises in the first `warmup_steps` and falls in the last `cooldown` of the training, a fraction. Training has
    `epochs` of `steps_per_epoch`, or ends with the `time_limit` if that comes earlier. Between two epochs the optimiser
    has the rate without both, which `ReduceLROnPlateau` may halve: it stands after this one in the list of callbacks.
    """

    def __init__(
        self, steps_per_epoch: int, epochs: int, time_limit: TimeLimit | None = None,
        cooldown: float = 0.4, warmup_steps: int = 100,
    ):  # fmt: skip
        super().__init__()
        self._steps_per_epoch, self._epochs, self._time_limit = steps_per_epoch, epochs, time_limit
        self._cooldown, self._warmup_steps = cooldown, warmup_steps

    def factor(self, step: int) -> float:
        """Return the factor of the learning rate at a step, counted from the start of the first epoch."""
        done = step / (self._epochs * self._steps_per_epoch)
        if self._time_limit:
            done = max(done, self._time_limit.fraction)
        # Never quite zero: a step that changes nothing would be waste.
        cooling = max(min(1.0, (1 - done) / self._cooldown), 0.005)
        return min(cooling, (step + 1) / self._warmup_steps)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._first_step = epoch * self._steps_per_epoch
        self._learning_rate = _learning_rate_of(self.model)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.optimizer.learning_rate = self._learning_rate * self.factor(self._first_step + batch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["learning_rate_used"] = _learning_rate_of(self.model)
        self.model.optimizer.learning_rate = self._learning_rate


def _learning_rate_of(model: keras.Model) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))

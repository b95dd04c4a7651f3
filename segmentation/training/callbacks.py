"""What happens around the steps of a training, apart from what Keras' own callbacks do."""

import signal
import time

import keras


class Interrupted(Exception):
    """The user, or the batch queue, asked the training to stop."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class InterruptHandler(keras.callbacks.Callback):
    """End the training after the running step when Ctrl-C or SIGTERM comes; a second one ends it at once.

    The unfinished epoch is given up, so that a resumed training goes on from a whole one.
    """

    def __init__(self):
        super().__init__()
        self._received = None
        self._previous = {}

    def on_train_begin(self, logs=None):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)

    def on_train_end(self, logs=None):
        self.restore()

    def restore(self):
        """Give the signals back to whoever handled them before."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _receive(self, number, frame):
        self._received = number
        self.restore()

    def _raise_if_received(self):
        if self._received is not None:
            raise Interrupted(self._received)

    def on_train_batch_end(self, batch, logs=None):
        self._raise_if_received()

    def on_test_batch_end(self, batch, logs=None):
        self._raise_if_received()


class EpochSetter(keras.callbacks.Callback):
    """Tell a `NucleiSequence` which epoch it draws for."""

    def __init__(self, sequence):
        super().__init__()
        self._sequence = sequence

    def on_epoch_begin(self, epoch, logs=None):
        self._sequence.epoch = epoch


class Stopwatch(keras.callbacks.Callback):
    """Add to the figures of an epoch how many seconds it took, validation included."""

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = round(time.monotonic() - self._started, 3)


class TimeLimit(keras.callbacks.Callback):
    """Stop in time for validation and export to end before a limit.

    Parameters
    ----------
    start, seconds : float
        When the process started, on the clock of `time.monotonic`, and how long it may take.
    reserve : float
        Seconds kept for what comes after the training, to which ten times the duration of a validation is added: the
        final figures are of whole images.
    """

    def __init__(self, start: float, seconds: float, reserve: float = 25.0):
        super().__init__()
        self._first_step = time.monotonic()
        self._end = start + seconds - reserve
        self._validation_seconds = 0.0

    @property
    def fraction(self) -> float:
        """How much of the time for training is used up, in [0, 1]."""
        total = self._end - 10 * self._validation_seconds - self._first_step
        return min(1.0, (time.monotonic() - self._first_step) / total) if total > 0 else 1.0

    def on_train_begin(self, logs=None):
        self._first_step = time.monotonic()

    def on_test_begin(self, logs=None):
        self._test_start = time.monotonic()

    def on_test_end(self, logs=None):
        self._validation_seconds = time.monotonic() - self._test_start

    def on_train_batch_end(self, batch, logs=None):
        if self.fraction >= 1:
            self.model.stop_training = True


class LearningRateSchedule(keras.callbacks.Callback):
    """Warm up over the first steps, and cool down to zero over the last part of the epochs or of the time.

    Between the two the learning rate is what `keras.callbacks.ReduceLROnPlateau` makes of it. Cooling down averages
    out the noise of the last steps; on a short training it brings more than anything else.

    Parameters
    ----------
    steps_per_epoch, epochs : int
        Of the whole training.
    time_limit : TimeLimit, optional
        Cool down at its end, if that comes earlier.
    cooldown : float
        Fraction of the training, at its end.
    warmup_steps : int
        At the start of the first epoch.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        epochs: int,
        time_limit: TimeLimit | None = None,
        cooldown: float = 0.4,
        warmup_steps: int = 100,
    ):
        super().__init__()
        self._steps_per_epoch, self._epochs, self._time_limit = steps_per_epoch, epochs, time_limit
        self._cooldown, self._warmup_steps = cooldown, warmup_steps
        self._epoch = 0
        self.learning_rate = None
        """What the learning rate is apart from warming up and cooling down."""

    def factor(self, step: int) -> float:
        """Return what the learning rate is multiplied with at a step, counted from the start of the first epoch."""
        done = step / (self._epochs * self._steps_per_epoch)
        if self._time_limit:
            done = max(done, self._time_limit.fraction)
        # Never quite zero: a step that changes nothing would be waste.
        cooling = max(min(1.0, (1 - done) / self._cooldown), 0.005)
        return min(cooling, (step + 1) / self._warmup_steps)

    def on_train_begin(self, logs=None):
        if self.learning_rate is None:
            self.learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        step = self._epoch * self._steps_per_epoch + batch
        self.model.optimizer.learning_rate = self.learning_rate * self.factor(step)

    def on_epoch_end(self, epoch, logs=None):
        # The others see, and halve, the rate without the factor; the history holds the one that was used last.
        logs["learning_rate_used"] = float(self.model.optimizer.learning_rate)
        self.model.optimizer.learning_rate = self.learning_rate


class PlateauReader(keras.callbacks.Callback):
    """Hand what `ReduceLROnPlateau` decided to the schedule; stands after it in the list."""

    def __init__(self, schedule: LearningRateSchedule):
        super().__init__()
        self._schedule = schedule

    def on_epoch_end(self, epoch, logs=None):
        self._schedule.learning_rate = float(self.model.optimizer.learning_rate)

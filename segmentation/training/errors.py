"""Why a training ends before its time."""

import signal


class TrainingError(ValueError):
    """A training that cannot begin or continue; the message says why and what to do."""


class Interrupted(Exception):
    """The user, or the batch queue, asked the training to stop."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

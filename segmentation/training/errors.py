"""Why a training ends before its time."""

import signal
from pathlib import Path


class TrainingError(ValueError):
    """A training that cannot begin or continue; the message says why and what to do."""


def unusable_file(error: OSError, output: Path) -> TrainingError:
    """Say what to do when a file cannot be written or read: a full disk, a folder that is read-only or was deleted."""
    what = error.strerror or " ".join(str(error).split())
    return TrainingError(
        f"{error.filename or output} cannot be written or read ({what}): free space and check the folder, then resume "
        "the training with --resume if an epoch was finished, or name another folder with --output"
    )


class Interrupted(Exception):
    """The user, or the batch queue, asked the training to stop."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

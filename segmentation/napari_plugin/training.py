"""A training in a process of its own, followed from the window."""

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

# How long a closing window waits for a training to keep what it has.
_CLOSING_MS = 5000
_MOST_OUTPUT = 2000  # characters that are kept


class Training:
    """A command that is running.

    Parameters
    ----------
    window : QWidget
        Closes no sooner than the command has ended; until then its children.
    command : sequence of str
        The program and its arguments.
    say : callable
        Told the last line of the output whenever there is more. All of it goes to the terminal that napari was started
        in.
    ended : callable
        Told at the end, in a sentence, why the command failed or that it was stopped; an empty one if all is well.
    """

    def __init__(
        self, window: "QWidget", command: Sequence[str], say: Callable[[str], None], ended: Callable[[str], None]
    ) -> None:
        from qtpy.QtCore import QProcess

        self._say, self._ended, self._output = say, ended, ""
        self._stopped = False
        self.process = QProcess(window)
        self.process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        self.process.readyReadStandardOutput.connect(self._show_output)
        self.process.finished.connect(self._finished)
        window.destroyed.connect(self._close)
        self.process.start(command[0], list(command[1:]))

    def stop(self) -> None:
        """Let the command end; Windows has no signal that a program without a window would hear."""
        self._stopped = True
        self.process.kill() if sys.platform == "win32" else self.process.terminate()

    @property
    def _last_line(self) -> str:
        return next((line.strip() for line in reversed(self._output.split("\n")) if line.strip()), "")

    @property
    def _reason(self) -> str:
        """What train.py said last, which may take several lines."""
        found = re.search(r"^train\.py: (?!.*^train\.py: ).*", self._output, re.DOTALL | re.MULTILINE)
        return found[0].rstrip() if found else self._last_line

    def _show_output(self) -> None:
        text = bytes(self.process.readAllStandardOutput().data()).decode(errors="replace")
        sys.stdout.write(text)
        self._output = (self._output + text)[-_MOST_OUTPUT:]
        self._say(self._last_line)

    def _finished(self, status: int, how: object) -> None:
        from qtpy.QtCore import QProcess

        self._show_output()
        if self._stopped and how == QProcess.ExitStatus.CrashExit:
            self._ended("The training is cancelled")
        elif how == QProcess.ExitStatus.CrashExit:
            self._ended(f"The training was killed, perhaps for lack of memory; it said last: {self._last_line}")
        else:
            self._ended(self._reason or f"The training ended with status {status}" if status else "")

    def _close(self) -> None:
        """End with the window, which nobody is left to tell of."""
        self.process.blockSignals(True)
        self.stop()
        self.process.waitForFinished(_CLOSING_MS)

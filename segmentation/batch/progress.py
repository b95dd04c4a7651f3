"""Progress on standard error: bars if it is a terminal, and in any case what fails, at once."""

import sys

from tqdm import tqdm

from segmentation.batch.call import Outcome
from segmentation.command_line import write_line


class Progress:
    """A bar for `count` images, and one for the blocks of a large image."""

    def __init__(self, count: int) -> None:
        self._images = tqdm(total=count, unit="image", disable=None, file=sys.stderr, smoothing=0.1)
        self._blocks: tqdm | None = None

    def close(self) -> None:
        """Remove the bars."""
        self._images.close()

    def say(self, sentence: str) -> None:
        """Print a sentence without breaking the bars."""
        with tqdm.external_write_mode(sys.stderr):
            write_line(sentence, sys.stderr)

    def image(self, outcome: Outcome) -> None:
        """Count an image, and say why if it failed."""
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None
        if outcome.reason:
            self.say(outcome.reason)
        self._images.update()

    def block(self, name: str, done: int, total: int) -> None:
        """Count a block of a large image."""
        if self._blocks is None:
            options = {"disable": None, "file": sys.stderr, "position": 1, "leave": False}
            self._blocks = tqdm(desc=name, initial=done - 1, total=total, unit="block", **options)
        self._blocks.update()

"""Types of command-line arguments; importing them takes no time."""

from argparse import ArgumentTypeError
from math import inf, nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segmentation.batch.inputs import Shard


def shard(text: str) -> "Shard":
    """Convert I/N, as in 3/8."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ArgumentTypeError(f"expected I/N with 1 <= I <= N, as in 3/8, got {text!r}")
    from segmentation.batch.inputs import Shard

    return Shard(int(number), int(count))


def probability(text: str) -> float:
    """Convert a number between 0 and 1."""
    return _positive(text, "a number between 0 and 1", below=1)


def diameter(text: str) -> float | str | None:
    """Convert a number of pixels, auto or none."""
    if text == "auto":
        return text
    return None if text == "none" else _positive(text, "a number of pixels, auto or none")


def micrometres(text: str) -> float:
    """Convert a number of micrometres."""
    return _positive(text, "a number of micrometres")


def area(text: str) -> int:
    """Convert a number of pixels, 0 or more."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"expected a number of pixels, 0 or more, got {text!r}")
    return int(text)


def _positive(text: str, expected: str, below: float = inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not 0 < value < below:
        raise ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value

"""A command line that shows its examples, knows its version and suggests the option that was meant; and its output."""

import argparse
import difflib
import os
import re
import sys
from typing import NoReturn, TextIO

from segmentation import __version__

# With line separators, and the characters that XML does not have.
CONTROL_CHARACTER = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ufffe\\uffff]")


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` with ``--version``, defaults in the help text, and hints for mistyped options.

    Parameters
    ----------
    doc : str
        The docstring of the script: its first paragraph describes the command, the rest follows the options as it is.
    """

    def __init__(self, doc: str):
        description, _, rest = doc.partition("\n\n")
        super().__init__(description=description, epilog=rest, formatter_class=_Formatter)
        self.add_argument("--version", action="version", version=f"nuclei-segmentation {__version__}")

    def error(self, message: str) -> NoReturn:
        """Print usage and message on standard error and exit with status 2."""
        unknown = re.match(r"unrecognized arguments: .*?(--[\w-]+)", message)
        known = [option for action in self._actions for option in action.option_strings]
        meant = difflib.get_close_matches(unknown[1], known, n=1) if unknown else []
        super().error(f"{message}; did you mean {meant[0]}?" if meant else message)


def refuse(script: str, error: Exception, requirements: str = "requirements.txt") -> int:
    """Print why a command cannot be carried out on standard error; return the exit status for that, 2."""
    if isinstance(error, ModuleNotFoundError):
        error = ImportError(
            f"the package {error.name} is not installed; activate the environment that has it (source "
            f".venv/bin/activate), or run: pip install -r {requirements}, or, without a checkout, "
            'pip install "nuclei-segmentation[train]"'
        )
    write_line(f"{script}: {error}", sys.stderr)
    return 2


def printable(text: str) -> str:
    """Write control characters, which a terminal would obey, as Python does: a line feed as ``\\n``."""
    return CONTROL_CHARACTER.sub(lambda found: ascii(found[0])[1:-1], text)


def write_line(text: str, stream: TextIO) -> None:
    """Print lines, whatever the names in them hold.

    If nobody reads them any more or the device is full, go on without: results are in files.
    """
    text = "\n".join(map(printable, text.split("\n")))
    encoding = stream.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError:
        # What is left in the buffer is written once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, and leaves the examples as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS) or "(default: " in (action.help or ""):
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(action.default)})"
        return super()._get_help_string(action)

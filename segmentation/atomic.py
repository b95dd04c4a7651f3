"""Write a file whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(file):
    """Give a path beside `file` to write to; at the end it takes the place of `file` in one step.

    Whoever looks at `file` sees what was there before or all of the new content, even if the process is killed in
    between, or another one writes `file` at the same time: the last to end stays. If the block raises, the new file is
    removed and `file` stays as it was; if the process is killed, what it had begun is left (`is_unfinished`).

    Parameters
    ----------
    file : Path
        In a folder that exists. The path to write to begins with a dot and has the same suffix.

    Yields
    ------
    Path
    """
    file = Path(file)
    # A name of its own each time, as another process may be writing the same file; and no longer than names may be.
    temporary = file.with_name(f".{os.urandom(4).hex()}.part{file.suffix}")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def is_unfinished(file: Path) -> bool:
    """Whether a file is what a killed process had begun to write, by the name that `written_whole` gives it."""
    return file.name.startswith(".") and file.stem.endswith(".part")

"""Write a file or a folder whole or not at all."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A temporary folder older than this was left by a killed process; a younger one may be in use.
STALE_SECONDS = 24 * 3600


@contextmanager
def written_whole(file: Path | str) -> Iterator[Path]:
    """Give a path beside `file` to write to; at the end it takes the place of `file` in one step.

    Whoever looks at `file` sees what was there before or all of the new content, even if the process is killed in
    between, or another one writes `file` at the same time: the last to end stays. If the block raises, the new file is
    removed and `file` stays as it was; if the process is killed, what it had begun is left (`is_unfinished`).

    Parameters
    ----------
    file : Path
        In a folder that exists. The path to write to begins with a dot and has the same suffix.
    """
    file = Path(file)
    # A name of its own each time, as another process may be writing the same file; and no longer than names may be.
    temporary = file.with_name(f".{os.urandom(4).hex()}.part{file.suffix}")
    try:
        yield temporary
        os.replace(temporary, file)
    except OSError as error:
        if error.filename != str(temporary):
            raise
        # That name says nothing to whoever asked for `file`.
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_unfinished(file: Path) -> bool:
    """Whether a file is what a killed process had begun to write, by the name that `written_whole` gives it."""
    return file.name.startswith(".") and file.stem.endswith(".part")


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder` to fill; at the end it gets the name `folder` in one step.

    If the block raises, nothing is left. If the process is killed, a hidden folder is left, which a later call for the
    same `folder` removes when it is a day old. If another process was faster, its `folder` stays.

    Parameters
    ----------
    folder : Path
        Does not exist yet; its parents are made.
    """
    prefix = f".{folder.name}-"
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{prefix}*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as temporary:
        new = Path(temporary) / folder.name
        new.mkdir()
        yield new
        try:
            os.replace(new, folder)
        except OSError:
            if not folder.is_dir():
                raise

"""A progress bar for people, and silence in log files."""

from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress_bar(what: str, unit: str):
    """Show a bar on standard error if that is a terminal.

    Parameters
    ----------
    what : str
        Said before the bar.
    unit : str
        What is counted.

    Yields
    ------
    callable
        ``(done, total)``, to be called after each.
    """
    with tqdm(desc=what, unit=unit, disable=None, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show

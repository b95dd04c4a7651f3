"""Read a CSV strictly."""

import io
from collections.abc import Collection
from typing import TYPE_CHECKING

from segmentation.data.archive import File
from segmentation.data.problems import DatasetError

if TYPE_CHECKING:
    import pandas as pd


def read_table(file: File, columns: Collection[str], what: str) -> "pd.DataFrame":
    """Read a CSV with a header; every cell is the text in the file, so that the ids "007" and "NA" stay as they are.

    Parameters
    ----------
    file : Path or ArchiveMember
    columns : collection of str
        The columns that must be there.
    what : str
        What the table should be, for the message.

    Returns
    -------
    DataFrame of str
        Indexed by the line in the file. Blank lines are left out; cells missing at the end of a row are NaN.

    Raises
    ------
    DatasetError
        If the file cannot be read, is no CSV in UTF-8, or lacks a column.
    """
    # It takes 0.3 s, which prediction without a table should not pay.
    import pandas as pd

    try:
        table = pd.read_csv(
            io.BytesIO(file.read_bytes()),
            dtype=str,
            keep_default_na=False,
            index_col=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            encoding="utf-8-sig",
            engine="python",  # the other engine reads missing cells as empty ones
        )
    except pd.errors.EmptyDataError:
        table = pd.DataFrame()
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DatasetError(f"{file}: cannot be read as {what}: {error}.") from error
    missing = sorted(set(columns) - set(table.columns))
    if missing:
        raise DatasetError(
            f"{file}, line 1: the column {' and the column '.join(missing)} is missing; expected for {what}, "
            f"got {', '.join(table.columns)[:80] or 'nothing'}."
        )
    table.index += 2
    return table.dropna(how="all")

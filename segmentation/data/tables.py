"""Read a CSV strictly."""

import csv
import io
from collections.abc import Collection

from segmentation.data.archive import File
from segmentation.data.problems import DatasetError


def read_table(file: File, columns: Collection[str], what: str) -> dict[int, dict[str, str | None]]:
    """Read a CSV with a header in UTF-8; `what` names in messages what the table should be.

    Return the rows by their line in the file, without blank ones; a cell that is missing at the end of a row is None.
    Not with pandas: prediction by a split works without it.

    Raises
    ------
    DatasetError
        If the file cannot be read, is no CSV, lacks one of `columns`, or has a row with more cells than the header.
    """
    try:
        stream = io.StringIO(file.read_bytes().decode("utf-8-sig"), newline="")
        reader = csv.DictReader(stream, skipinitialspace=True, strict=True)
        present = reader.fieldnames or []
        missing = sorted(set(columns) - set(present))
        if missing:
            raise DatasetError(
                f"{file}, line 1: the column {' and the column '.join(missing)} is missing; expected for {what}, "
                f"got {', '.join(present)[:80] or 'nothing'}."
            )
        numbered = ((row, reader.line_num) for row in reader)
        rows = {line: row for row, line in numbered if any(row.values())}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read as {what}: {error}.") from error
    for line, row in rows.items():
        if None in row:
            raise DatasetError(f"{file}, line {line}: has more cells than the {len(present)} columns of the header.")
    return rows

"""The Bowl's run lengths: a nucleus as "start length start length ...".

Starts count from 1, down the columns first: pixel 1 is (row 0, column 0), pixel 2 is (row 1, column 0). A table of
them (`stage1_train_labels.csv`) has the columns ImageId and EncodedPixels and one row a nucleus.
"""

import csv
import io
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from segmentation.data.archive import File
from segmentation.data.images import IMAGE_SUFFIXES
from segmentation.data.problems import DatasetError

COLUMNS = ("ImageId", "EncodedPixels")


def decode_run_lengths(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Turn one nucleus' run lengths into the indices of its pixels.

    Parameters
    ----------
    text : str
        Pairs of start (1-based, column-major) and length, separated by spaces.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    (n,) int64
        Indices into the column-major flattened image, in the order of the runs.

    Raises
    ------
    ValueError
        If a number is missing or no integer, a length is below 1, or a run leaves the image.

    Examples
    --------
    >>> decode_run_lengths("1 2 5 1", (2, 3))
    array([0, 1, 4])
    """
    try:
        numbers = np.array(text.split(), np.int64)
    except (ValueError, OverflowError):
        raise ValueError(f"expected integers, got {text[:40]!r}") from None
    if numbers.size % 2:
        raise ValueError(f"expected pairs of start and length, got {numbers.size} numbers")
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    size = shape[0] * shape[1]
    # Compared without adding, which could overflow.
    wrong = (starts < 0) | (lengths < 1) | (lengths > size) | (starts > size - lengths)
    if wrong.any():
        start, length = starts[wrong][0] + 1, lengths[wrong][0]
        raise ValueError(f"run '{start} {length}' leaves an image of {shape[0]} x {shape[1]} = {size} pixels")
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - ends + lengths, lengths)


def choose_run_length_table(
    path: Path, files: Iterable[File], ids: Collection[str]
) -> tuple[File, dict[str, tuple[str, ...]]] | None:
    """Choose, among CSV files of any content, the run-length table that names images of a data set.

    Kaggle's download keeps the tables of the training and the test images side by side; the ids tell them apart.

    Parameters
    ----------
    path : Path
        The data set, for the message.
    files : iterable of File
    ids : collection of str
        The images' ids.

    Returns
    -------
    tuple of File and dict, or None
        The table as `read_run_length_table` returns it; None if no file names any of the images.

    Raises
    ------
    DatasetError
        If several do.
    """
    tables = {file: read_run_length_table(file) for file in files if _is_run_length_table(file)}
    naming = {file: table for file, table in tables.items() if not table.keys().isdisjoint(ids)}
    if len(naming) > 1:
        names = ", ".join(map(str, naming))
        raise DatasetError(f"{path}: {len(naming)} run-length tables name its images ({names}); leave the one meant.")
    return next(iter(naming.items()), None)


def _is_run_length_table(file: File) -> bool:
    """Whether a CSV has the columns of a run-length table."""
    try:
        if isinstance(file, Path):
            # A table beside the data may be any size and about anything.
            with file.open("rb") as stream:
                first_line = stream.readline(4096)
        else:
            first_line = file.read_bytes().partition(b"\n")[0]
    except OSError:
        return False
    header = first_line.decode("utf-8-sig", errors="replace").split(",")
    return set(COLUMNS) <= {name.strip().strip('"') for name in header}


def read_run_length_table(file: File) -> dict[str, tuple[str, ...]]:
    """Read a run-length table.

    Returns
    -------
    dict of str to tuple of str
        ImageId without suffix -> the run lengths of its nuclei, in the order of the rows. An image whose row is blank
        has no nuclei: an empty tuple.

    Raises
    ------
    DatasetError
        If the table cannot be read or a row lacks its columns.
    """
    try:
        rows = csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""), skipinitialspace=True)
        table: dict[str, list[str]] = {}
        for row in rows:
            image_id, runs = (row[column] for column in COLUMNS)
            if not image_id or runs is None:
                raise DatasetError(f"{file}, line {rows.line_num}: expected the columns {' and '.join(COLUMNS)}.")
            # Some tables name the file, others its stem.
            name = PurePosixPath(image_id.strip())
            nuclei = table.setdefault(name.stem if name.suffix.lower() in IMAGE_SUFFIXES else str(name), [])
            if runs.strip():
                nuclei.append(runs)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read as a table of run lengths: {error}.") from error
    return {image_id: tuple(nuclei) for image_id, nuclei in table.items()}

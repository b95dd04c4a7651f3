"""The Bowl's run lengths: a nucleus as "start length start length ...".

Pixels are counted from 1, down the columns: pixel 1 is (row 0, column 0), pixel 2 is (row 1, column 0). A table of run
lengths (`stage1_train_labels.csv`) has the columns ImageId and EncodedPixels and one row a nucleus.
"""

import io
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from segmentation.data.archive import File
from segmentation.data.images import IMAGE_SUFFIXES
from segmentation.data.problems import DatasetError
from segmentation.data.tables import read_table

COLUMNS = ("ImageId", "EncodedPixels")


def encode_run_lengths(labels: np.ndarray) -> list[str]:
    """Turn a label map into run lengths.

    Parameters
    ----------
    labels : (H, W) ndarray of integers
        0 is background.

    Returns
    -------
    list of str
        "start length start length ..." for each nucleus, in the order of the labels; empty if there is none.

    Examples
    --------
    >>> encode_run_lengths(np.array([[1, 0, 1], [1, 2, 0]]))
    ['1 2 5 1', '4 1']
    """
    pixels = labels.T.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=0))
    lengths = np.diff(starts, append=len(pixels))
    owners = pixels[starts]
    # Drop the runs of background and sort the others by nucleus; those of one nucleus stay in the order of the image.
    order = np.argsort(owners, kind="stable")[np.count_nonzero(owners == 0) :]
    runs = np.stack([starts[order] + 1, lengths[order]], axis=1)
    limits = np.flatnonzero(np.diff(owners[order])) + 1
    return [" ".join(map(str, run.ravel().tolist())) for run in np.split(runs, limits)] if len(runs) else []


def decode_run_lengths(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Turn the run lengths of one nucleus into the indices of its pixels.

    Parameters
    ----------
    text : str
        Pairs of start and length, separated by spaces; no pixel if it is blank.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    (n,) int64
        Indices, from 0, into the image flattened column by column, in the order of the runs.

    Raises
    ------
    ValueError
        If a number is missing or no integer, a length is below 1, or a run leaves the image or overlaps another.

    Examples
    --------
    >>> decode_run_lengths("1 2 5 1", (2, 3))
    array([0, 1, 4])
    """
    size = shape[0] * shape[1]
    parts = text.split()
    # Plain digits: Python reads "1_0" and the digits of other alphabets, too.
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 and int(part) < 2**63 for part in parts):
        raise ValueError(f"expected integers, got {text[:40]!r}")
    numbers = np.array(parts, np.int64)
    if numbers.size % 2:
        raise ValueError(f"expected pairs of start and length, got {numbers.size} numbers")
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    # Compared without adding, which could overflow.
    wrong = (starts < 0) | (lengths < 1) | (lengths > size) | (starts > size - lengths)
    if wrong.any():
        start, length = starts[wrong][0] + 1, lengths[wrong][0]
        raise ValueError(f"run '{start} {length}' leaves an image of {shape[0]} x {shape[1]} = {size} pixels")
    order = np.argsort(starts, kind="stable")
    if (starts[order][1:] < (starts + lengths)[order][:-1]).any():
        raise ValueError("runs overlap each other")
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - ends + lengths, lengths)


def choose_run_length_table(
    path: Path, files: Iterable[File], ids: Collection[str]
) -> tuple[File, dict[str, tuple[str, ...]]] | None:
    """Choose the run-length table that names images of a data set, by their ids, among CSV files of any content.

    Return the file and its content as from `read_run_length_table`, or None if no file names any of the images. Raise
    DatasetError, which names the data set `path`, if several do: Kaggle's download holds a table for the test images.
    """
    tables = {file: read_run_length_table(file) for file in files if _is_run_length_table(file)}
    naming = {file: table for file, table in tables.items() if not table.keys().isdisjoint(ids)}
    if len(naming) > 1:
        names = ", ".join(map(str, naming))
        raise DatasetError(f"{path}: {len(naming)} run-length tables name its images ({names}); keep one of them.")
    return next(iter(naming.items()), None)


def _is_run_length_table(file: File) -> bool:
    """Whether a CSV has the columns of a run-length table. Files may be large, so only the header is read."""
    try:
        with file.open("rb") if isinstance(file, Path) else io.BytesIO(file.read_start(4096)) as stream:
            header = stream.readline(4096).decode("utf-8-sig", errors="replace").split(",")
    except OSError:
        return False
    return set(COLUMNS) <= {name.strip().strip('"') for name in header}


def read_run_length_table(file: File) -> dict[str, tuple[str, ...]]:
    """Return the run lengths of the nuclei of each image, by ImageId without suffix, in the order of the rows.

    An image whose row is blank has no nuclei: an empty tuple. Raise DatasetError if the table cannot be read or a row
    lacks one of the columns.
    """
    found: dict[str, list[str]] = {}
    for line, row in read_table(file, COLUMNS, "a table of run lengths").items():
        image, runs = row["ImageId"], row["EncodedPixels"]
        if not image or runs is None:
            raise DatasetError(f"{file}, line {line}: expected the columns {' and '.join(COLUMNS)}.")
        found.setdefault(_image_id(image), []).extend([runs] if runs.strip() else [])
    return {image: tuple(runs) for image, runs in found.items()}


def _image_id(name: str) -> str:
    """Some tables name the file, others its stem."""
    path = PurePosixPath(name.strip())
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else str(path)

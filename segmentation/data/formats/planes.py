"""Which planes of a file make one picture, and how a stack in Z becomes one plane."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from segmentation.data.formats.decoded import DecodeError, Undecided

#: Where a picture is in its file: row, column and field of a plate, series, frame; numbers count from 1.
Place = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Planes:
    """Which planes of a file that holds several.

    Attributes
    ----------
    project : str or None
        How a stack becomes one plane: "max", "mean", or the number of the plane, from 1.
    series, frame : int or None
        The picture and the point in time, from 0.
    """

    project: str | None = None
    series: int | None = None
    frame: int | None = None

    def depths(self, count: int, held: str) -> Sequence[int]:
        """Return which of `count` planes in Z are read; `DecodeError`, which begins with `held`, without a choice."""
        if self.project is None:
            raise Undecided(
                f"{held}, where one plane was expected",
                ": project the stack with --project max or mean, or choose one plane with --project N",
            )
        if not self.project.isdecimal():
            return range(count)
        if not 1 <= int(self.project) <= count:
            raise DecodeError(f"{held}, where a plane {self.project} was asked for (--project)")
        return [int(self.project) - 1]


def name_picture(file: object, place: Place) -> str:
    """Name a picture in messages: by its file, and by its place if the file holds several.

    Examples
    --------
    >>> name_picture("cells.czi", (("series", "2"), ("frame", "3")))
    'cells.czi (series 2, frame 3)'
    >>> name_picture("cells.png", ())
    'cells.png'
    """
    return f"{file} ({', '.join(map(' '.join, place))})" if place else str(file)


def project(planes: Iterable[np.ndarray], how: str | None) -> np.ndarray:
    """Return the maximum of planes, in their dtype, or their mean, as float32; they are read one by one.

    Examples
    --------
    >>> planes = [np.array([[1, 5]], np.uint8), np.array([[2, 2]], np.uint8)]
    >>> project(planes, "max"), project(planes, "mean")
    (array([[2, 5]], dtype=uint8), array([[1.5, 3.5]], dtype=float32))
    """
    if how != "mean":
        return reduce(np.maximum, planes)
    count, total = 0, np.zeros(1)
    for plane in planes:
        count, total = count + 1, total + plane
    return np.asarray(total / count, np.float32)

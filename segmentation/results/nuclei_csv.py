"""nuclei.csv: a row a nucleus."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from segmentation.batch.outputs import Prediction, TableOutput
from segmentation.results.large_measurement import measure_large
from segmentation.results.measurement import column_names, measure_image, measure_nuclei

if TYPE_CHECKING:
    from segmentation.large.result import LargePrediction

# Every nuclei.csv has these columns, whatever the images are, so that tables of several calls can be joined.
COLUMNS = ("image", *column_names(("grey", "red", "green", "blue")))
_ROWS_AT_ONCE = 10_000


def further_columns(channel_names: Sequence[str]) -> list[str]:
    """Return the columns of images with these channels that are not in `COLUMNS`.

    Examples
    --------
    >>> further_columns(["DAPI"])[:2]
    ['mean_intensity_DAPI', 'min_intensity_DAPI']
    """
    return [name for name in column_names(channel_names) if name not in COLUMNS]


def table_rows(image: str, table: Mapping[str, np.ndarray]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each nucleus of a table of `measure_nuclei`: values for `COLUMNS`, then for `further_columns`.

    Numbers have seven significant digits, whole numbers all of theirs; yes and no are `true` and `false`. Empty where
    the image has no such channel, or no pixel size.
    """
    names = [*COLUMNS[1:], *(name for name in table if name not in COLUMNS)]
    for first in range(0, len(table["label"]), _ROWS_AT_ONCE):
        part = {name: _formatted(values[first : first + _ROWS_AT_ONCE]) for name, values in table.items()}
        count = len(part["label"])
        yield from zip([image] * count, *(part.get(name, [""] * count) for name in names), strict=True)


def _formatted(values: np.ndarray) -> list[str]:
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values]
    if values.dtype.kind == "f":
        return [f"{value:.7g}" for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def _completed(prediction: "Prediction | LargePrediction", table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Put the scores before the further columns, if the model gives any, and the place of the picture in its file."""
    scores = {} if prediction.scores is None else {"score": prediction.scores.round(4)}
    place = {key: np.array([value] * len(table["label"]), str) for key, value in prediction.image.place}
    return {**scores, **place, **table}


OUTPUT = TableOutput(
    "nuclei.csv",
    COLUMNS,
    lambda p: table_rows(p.name, _completed(p, measure_image(p.labels, p.image))),
    measure_nuclei,
    lambda p: table_rows(p.name, _completed(p, measure_large(p))),
    lambda p: [
        *([] if p.scores is None else ["score"]),
        *dict(p.image.place),
        *further_columns(p.image.measured_names),
    ],
)

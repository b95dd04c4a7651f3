"""images.csv: a row an image. nuclei.csv shows neither images without nuclei nor those that failed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from segmentation.batch.outputs import Prediction, TableOutput
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.results.large_measurement import measure_areas

if TYPE_CHECKING:
    from segmentation.large.result import LargePrediction

# The diameter of a nucleus is that of a circle of its area, in pixels; the scale is that at which the network saw it.
COLUMNS = (
    *("image", "file", "status", "height", "width", "pixel_height_um", "pixel_width_um", "nuclei"),
    *("median_diameter", "median_diameter_um", "foreground_fraction", "scale", "reason"),
)


# What to expect of the result, with a model that judges its results: see `segmentation.prediction.trust.Verdict`.
VERDICT = ("expected_dice", "expected_ap50", "unlike", "view")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def image_rows(prediction: "Prediction | LargePrediction") -> list[Sequence[str]]:
    """Return the one row of a predicted image; empty values where there is no pixel size or no nucleus.

    After the verdict comes the place of the picture in its file, where that holds several.
    """
    image = prediction.image
    if isinstance(prediction, Prediction):
        file, (height, width) = prediction.file, prediction.labels.shape
        areas = np.bincount(prediction.labels.ravel())[1:]
    else:
        file, (height, width) = str(prediction.image.file), prediction.image.shape
        areas = measure_areas(prediction)
    size = image.pixel_size_um or PixelSize(np.nan, np.nan)
    diameter = np.median(np.sqrt(areas * 4 / np.pi)) if len(areas) else np.nan
    numbers = height, width, *size, len(areas), diameter, diameter * size.side, areas.sum() / (height * width)
    texts = ["" if np.isnan(number) else f"{number:.7g}" for number in (*numbers, prediction.scale)]
    verdict = prediction.verdict.as_dict() if prediction.verdict else {}
    judged = ("" if value is None else str(value) for value in verdict.values())
    return [(prediction.name, _as_text(file), "done", *texts, "", *judged, *dict(image.place).values())]


def failed_row(name: str, file: str, reason: str) -> Sequence[str]:
    """Return the row of an image that failed, with its `reason`."""
    return name, _as_text(file), "failed", *[""] * (len(COLUMNS) - 4), _as_text(reason)


def _as_text(value: str) -> str:
    """Put an apostrophe before what spreadsheets would run as a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def read_text(value: str) -> str:
    """Return a text of the table as it was before an apostrophe was put before it.

    Examples
    --------
    >>> read_text("'=1+1.png"), read_text("'quoted'.png")
    ('=1+1.png', "'quoted'.png")
    """
    return value[1:] if value[:1] == "'" and value[1:].startswith(_FORMULA) else value


OUTPUT = TableOutput(
    "images.csv",
    COLUMNS,
    image_rows,
    rows_large=image_rows,
    further_columns=lambda p: (*(VERDICT if p.verdict else ()), *dict(p.image.place)),
    failed_row=failed_row,
)

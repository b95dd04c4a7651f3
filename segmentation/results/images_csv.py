"""images.csv: a row an image, also of those without nuclei, which nuclei.csv does not show, and of those that failed."""

from collections.abc import Sequence

import numpy as np

from segmentation.batch.outputs import Prediction, TableOutput
from segmentation.large.result import LargePrediction
from segmentation.results.large_tables import measure_areas

# Diameters are those of circles with the areas of the nuclei; the scale is that at which the network saw the image.
COLUMNS = (
    *("image", "file", "status", "height", "width", "pixel_size_um", "nuclei"),
    *("median_diameter", "median_diameter_um", "foreground_fraction", "scale", "reason"),
)


def image_row(prediction: Prediction | LargePrediction) -> tuple[str, ...]:
    """Return the row of a predicted image: seven significant digits, empty where there is no pixel size or nucleus."""
    image = prediction.image
    if isinstance(prediction, Prediction):
        file, (height, width) = prediction.file, prediction.labels.shape
        areas = np.bincount(prediction.labels.ravel())[1:]
    else:
        file, (height, width) = str(prediction.image.file), prediction.image.shape
        areas = measure_areas(prediction)
    size, diameter = image.pixel_size_um, float(np.median(np.sqrt(areas * 4 / np.pi))) if len(areas) else None
    return (
        *(prediction.name, file, "done", str(height), str(width), _text(size), str(prediction.nuclei), _text(diameter)),
        _text(None if size is None or diameter is None else diameter * size),
        *(_text(areas.sum() / (height * width)), _text(prediction.scale), ""),
    )


def failed_row(name: str, file: str, reason: str) -> tuple[str, ...]:
    """Return the row of an image that failed."""
    return name, file, "failed", *[""] * (len(COLUMNS) - 4), reason


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def _rows(prediction: Prediction | LargePrediction) -> list[Sequence[str]]:
    return [image_row(prediction)]


OUTPUT = TableOutput("images.csv", COLUMNS, _rows, rows_large=_rows, failed_row=failed_row)

"""Write nuclei as GeoJSON, for QuPath."""

import json
from pathlib import Path

import numpy as np

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput, Prediction
from segmentation.results.measurement import measure_image
from segmentation.results.outlines import trace_outlines

# Columns that are no measurements in QuPath: its objects have a name and a place, and measurements must be numbers.
_LEFT_OUT = ("label", "centroid_", "bbox_", "touches_edge")


def write_geojson(file: Path, labels: np.ndarray, measurements: dict[str, np.ndarray]) -> None:
    """Write a detection for each nucleus, whole or not at all. Drop the file on the image in QuPath 0.4 or newer.

    Coordinates are pixels of the image at full resolution, from its top left corner, along the edges of pixels. Nuclei
    in several pieces are multipolygons, holes are kept. Outer rings have a positive signed area in these coordinates,
    holes a negative one (RFC 7946). The name of a detection is its label.

    `labels` are (H, W) integers, and `measurements` those of `measure_nuclei` for them, of which each detection gets
    size, shape and intensities, and the score if there is one. ValueError if one is not finite, which JSON cannot hold.
    """
    names = [name for name in measurements if not name.startswith(_LEFT_OUT)]
    columns = [_compact(measurements[name]) for name in names]
    rows = dict(zip(measurements["label"].tolist(), zip(*columns, strict=True), strict=True))
    features = [
        {
            "type": "Feature",
            "geometry": _geometry(polygons),
            "properties": {
                "objectType": "detection",
                "name": str(label),
                "classification": {"name": "Nucleus"},
                "measurements": dict(zip(names, rows[label], strict=True)),
            },
        }
        for label, polygons in trace_outlines(labels).items()
    ]
    collection = {"type": "FeatureCollection", "features": features}
    with written_whole(file) as temporary:
        temporary.write_text(json.dumps(collection, separators=(",", ":"), allow_nan=False), encoding="utf-8")


def _geometry(polygons: list[list[np.ndarray]]) -> dict:
    coordinates = [[[*ring.tolist(), ring[0].tolist()] for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _compact(values: np.ndarray) -> list[float]:
    """Round to seven significant digits, as in nuclei.csv."""
    return [float(f"{value:.7g}") if isinstance(value, float) else value for value in values.tolist()]


def _write(file: Path, prediction: Prediction) -> None:
    scores = {} if prediction.scores is None else {"score": prediction.scores.round(4)}
    write_geojson(file, prediction.labels, measure_image(prediction.labels, prediction.image) | scores)


OUTPUT = ImageOutput("geojson", ".geojson", _write)

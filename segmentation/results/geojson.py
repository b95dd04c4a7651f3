"""Write nuclei as GeoJSON, for QuPath."""

import json
from pathlib import Path

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput, Prediction
from segmentation.results.outlines import trace_outlines
from segmentation.results.tables import measure_nuclei

# Columns that are no measurements in QuPath: the name tells the label, the outline the position, and all are numbers.
_LEFT_OUT = ("label", "centroid_", "bbox_", "touches_edge")


def write_geojson(file, labels, measurements):
    """Write a feature collection with a detection a nucleus, which QuPath (0.4 or newer) takes by drag and drop.

    Coordinates are pixels of the full-resolution image, (0, 0) being its top left corner, along the edges of pixels.
    Nuclei in several pieces are multipolygons, holes are kept. Rings are closed. Outer rings have a positive signed
    area in these coordinates, as RFC 7946 demands (it says counterclockwise; on the screen, where y points down, that
    is clockwise) and holes a negative one; QuPath takes either. Each detection has its label as its name.

    Parameters
    ----------
    file : Path
        ``.geojson``
    labels : (H, W) ndarray of integers
        0 is background.
    measurements : dict of str to (n,) ndarray
        From `segmentation.results.tables.measure_nuclei`. Those of size, shape and intensity go along with each
        nucleus, under the names that they have in nuclei.csv.
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


def _geometry(polygons):
    coordinates = [[[*ring.tolist(), ring[0].tolist()] for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _compact(values):
    """Seven significant digits, as in nuclei.csv."""
    return [float(f"{value:.7g}") if isinstance(value, float) else value for value in values.tolist()]


def _write(file: Path, prediction: Prediction) -> None:
    image = prediction.image
    measured = measure_nuclei(prediction.labels, image.pixels, image.channel_names, image.pixel_size_um)
    write_geojson(file, prediction.labels, measured)


OUTPUT = ImageOutput("geojson", ".geojson", _write)

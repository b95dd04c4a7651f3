"""GeoJSON in the form that QuPath documents, its shapes judged by the library that geometry programs share (GEOS).

https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
"""

import csv
import json

import numpy as np
import pytest

from segmentation.results.geojson import write_geojson
from segmentation.results.measurement import measure_nuclei
from tests.programs.conftest import NAMES, PIXEL_SIZE_UM
from tests.results.shapes import CASES

geometry = pytest.importorskip("shapely.geometry", reason="there is no shapely: pip install shapely")


def shapes(file):
    """The features of a file by name, each with its shape."""
    collection = json.loads(file.read_text(encoding="utf-8"))
    assert set(collection) == {"type", "features"} and collection["type"] == "FeatureCollection"
    found = {}
    for feature in collection["features"]:
        assert feature["type"] == "Feature" and feature["properties"]["objectType"] == "detection"
        coordinates = feature["geometry"]["coordinates"]
        polygons = coordinates if feature["geometry"]["type"] == "MultiPolygon" else [coordinates]
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for polygon in polygons for ring in polygon)
        found[int(feature["properties"]["name"])] = feature, geometry.shape(feature["geometry"])
    assert len(found) == len(collection["features"])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_areas_and_centroids_are_those_of_the_table(predicted, name):
    found = shapes(predicted / "results" / "geojson" / f"{name}.geojson")
    rows = [row for row in csv.DictReader((predicted / "results" / "nuclei.csv").open()) if row["image"] == name]
    assert len(rows) == len(found) > 10
    for row in rows:
        feature, shape = found[int(row["label"])]
        assert shape.is_valid
        assert shape.area == float(row["area"]) == feature["properties"]["measurements"]["area"]
        assert shape.area * PIXEL_SIZE_UM**2 == pytest.approx(float(row["area_um2"]), rel=1e-6)
        # QuPath counts from the corner of a pixel, the table from its middle.
        assert shape.centroid.x - 0.5 == pytest.approx(float(row["centroid_x"]), abs=1e-3)
        assert shape.centroid.y - 0.5 == pytest.approx(float(row["centroid_y"]), abs=1e-3)


@pytest.mark.parametrize("labels", CASES.values(), ids=CASES.keys())
def test_every_shape_is_valid(tmp_path, labels):
    """Also holes that touch the outside, pieces that meet in a corner, and pieces inside holes."""
    write_geojson(tmp_path / "a.geojson", labels, measure_nuclei(labels, np.zeros((*labels.shape, 1)), ("grey",)))
    for label, (_, shape) in shapes(tmp_path / "a.geojson").items():
        assert shape.is_valid, label
        assert shape.area == np.count_nonzero(labels == label)

import json

import numpy as np
import pytest

from segmentation.results.geojson import write_geojson
from segmentation.results.measurement import measure_nuclei
from tests.results.shapes import CASES, fill_labels


def write_and_read(file, labels, pixel_size_um=None):
    pixels = np.random.default_rng(0).integers(0, 255, (*labels.shape, 1), np.uint8)
    table = measure_nuclei(labels, pixels, ("grey",), pixel_size_um)
    write_geojson(file, labels, table)
    collection = json.loads(file.read_text(), parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert collection["type"] == "FeatureCollection"
    return collection["features"], table


def polygons_of(geometry):
    """As RFC 7946 has it: closed rings of at least four positions, outer ones counterclockwise by signed area."""
    polygons = {"Polygon": lambda c: [c], "MultiPolygon": lambda c: c}[geometry["type"]](geometry["coordinates"])
    for polygon in polygons:
        for index, ring in enumerate(polygon):
            assert ring[0] == ring[-1] and len(ring) >= 4
            x, y = np.array(ring).T
            assert (np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0) == (index == 0)
    assert (geometry["type"] == "MultiPolygon") == (len(polygons) > 1)
    return polygons


@pytest.mark.parametrize("labels", CASES.values(), ids=CASES.keys())
def test_filled_detections_are_the_label_map(tmp_path, labels):
    features, _ = write_and_read(tmp_path / "a.geojson", labels)
    rings = {
        int(feature["properties"]["name"]): [ring for polygon in polygons_of(feature["geometry"]) for ring in polygon]
        for feature in features
    }
    assert list(rings) == np.unique(labels[labels > 0]).tolist()
    assert np.array_equal(fill_labels(rings, labels.shape), labels)


def test_qupath_takes_them_for_detections_with_measurements(tmp_path):
    features, table = write_and_read(tmp_path / "a.geojson", CASES["labels with gaps"], (0.25, 0.25))
    for row, feature in enumerate(features):
        assert feature["type"] == "Feature"
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        assert properties["classification"] == {"name": "Nucleus"}
        assert properties["name"] == str(table["label"][row])
        assert list(properties["measurements"]) == [
            "area",
            "eccentricity",
            "solidity",
            "mean_intensity_grey",
            "area_um2",
            "perimeter",
            "axis_major_length",
            "axis_minor_length",
            "orientation",
            "equivalent_diameter",
            *(f"{figure}_intensity_grey" for figure in ("min", "max", "std", "sum")),
            "perimeter_um",
            "axis_major_length_um",
            "axis_minor_length_um",
            "equivalent_diameter_um",
        ]
        for name, value in properties["measurements"].items():
            assert type(value) in (int, float), "QuPath takes numbers only"
            assert value == pytest.approx(float(table[name][row]), rel=1e-6)


def test_the_file_is_compact(tmp_path):
    write_and_read(tmp_path / "a.geojson", CASES["drawn nuclei"])
    text = (tmp_path / "a.geojson").read_text()
    assert " " not in text and "\n" not in text
    assert ".0" not in text.split('"coordinates":')[1].split("}")[0], "corners are whole numbers"


def test_without_nuclei_there_are_no_features(tmp_path):
    assert write_and_read(tmp_path / "a.geojson", np.zeros((4, 5), np.int32))[0] == []


def test_a_failure_leaves_nothing(tmp_path):
    table = measure_nuclei(np.ones((2, 2), int), np.ones((2, 2, 1)), ("grey",))
    with pytest.raises(ValueError):
        write_geojson(tmp_path / "a.geojson", np.ones((2, 2), int), table | {"area": np.array([np.nan])})
    assert list(tmp_path.iterdir()) == []

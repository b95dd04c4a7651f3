import json
import zipfile

import cv2
import numpy as np
import pytest
import roifile
from skimage.draw import ellipse
from skimage.measure import points_in_poly

from segmentation.data import problems
from segmentation.data.outlines import MOST_BYTES, OutlineMasks, fill_outline
from segmentation.results.geojson import write_geojson
from segmentation.results.measurement import measure_nuclei
from segmentation.results.rois import write_rois


def whats(found):
    return [(problem.what, problem.fatal) for problem in found]


def read(file, shape):
    return OutlineMasks(file).read("a", shape)


def write_features(file, *features):
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return file


def feature(*rings, kind="Polygon", **others):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": rings}, "properties": {}} | others


def box(x, y, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


@pytest.fixture
def label_map():
    """Touching nuclei, one with a hole, one in two pieces, one pixel alone, one at the edge; no number is left out."""
    labels = np.zeros((60, 80), np.int32)
    for number, (x, y) in enumerate(np.random.default_rng(3).integers(0, 60, (14, 2)).tolist(), 1):
        cv2.circle(labels, (x + 10, y), 6, number, -1)
    labels[20:24, 20:24] = 0
    labels[0, 0], labels[59, 76:], labels[57, 79] = 50, 60, 60
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def test_what_this_project_writes_is_read_back_pixel_by_pixel(tmp_path, label_map):
    write_rois(tmp_path / "a.zip", label_map)
    write_geojson(tmp_path / "a.geojson", label_map, measure_nuclei(label_map, np.zeros((60, 80, 1)), ("grey",)))
    for name in ("a.zip", "a.geojson"):
        labels, found = read(tmp_path / name, label_map.shape)
        np.testing.assert_array_equal(labels, label_map)
        assert labels.dtype == np.int32 and not any(problem.fatal for problem in found)
    write_rois(tmp_path / "none.zip", np.zeros((5, 5), np.int32))
    labels, found = read(tmp_path / "none.zip", (5, 5))
    assert not labels.any() and not found


def test_a_pixel_belongs_if_its_centre_is_inside():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50]
    centres = np.stack([x.ravel(), y.ravel()], axis=-1) + 0.5
    for _ in range(50):
        # Corners beyond the image, and polygons that cross themselves.
        ring = rng.uniform(-20, 70, (rng.integers(3, 9), 2))
        pixels, top, left = fill_outline([ring], (40, 50))
        filled = np.zeros((40, 50), bool)
        filled[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        np.testing.assert_array_equal(filled.ravel(), points_in_poly(centres, ring))


def test_selections_as_imagej_draws_them(tmp_path):
    """Rectangle, oval, polygon between pixels, freehand; a point and a text have no area."""
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=2, top=3, right=8, bottom=7)
    oval = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.OVAL, left=20, top=10, right=40, bottom=22)
    triangle = roifile.ImagejRoi.frompoints([[50.1, 3.1], [59.8, 3.1], [50.1, 12.5]])
    point = roifile.ImagejRoi.frompoints([[5, 30]])
    point.roitype = roifile.ROI_TYPE.POINT
    roifile.roiwrite(tmp_path / "a.zip", [rectangle, oval, triangle, point], mode="w")
    labels, found = read(tmp_path / "a.zip", (40, 70))
    assert whats(found) == [(problems.NO_AREA, False)] and found[0].detail.startswith("1 of 4")
    expected = np.zeros((40, 70), int)
    expected[3:7, 2:8] = 1
    expected[ellipse(15.5, 29.5, 6, 10)] = 2
    np.testing.assert_array_equal(labels == 1, expected == 1)
    assert np.count_nonzero((labels == 2) != (expected == 2)) <= 4
    assert np.count_nonzero(labels == 3) == pytest.approx(0.5 * 9.7 * 9.4, abs=5)
    rectangle.tofile(tmp_path / "one.roi")
    labels, _ = read(tmp_path / "one.roi", (40, 70))
    np.testing.assert_array_equal(labels, expected == 1)


def test_a_rounded_rectangle(tmp_path):
    for arc, expected in ((0, 30 * 20), (20, 30 * 20 - (400 - 100 * np.pi)), (50, 15 * 10 * np.pi)):
        rectangle = roifile.ImagejRoi(
            roitype=roifile.ROI_TYPE.RECT, left=5, top=3, right=35, bottom=23, rounded_rect_arc_size=arc
        )
        rectangle.tofile(tmp_path / "one.roi")
        labels, _ = read(tmp_path / "one.roi", (40, 70))
        assert np.count_nonzero(labels) == pytest.approx(expected, abs=8)


def test_selections_on_several_slices_are_not_of_one_picture(tmp_path):
    def selection(left, **place):
        return roifile.ImagejRoi(
            roitype=roifile.ROI_TYPE.RECT,
            left=left,
            top=3,
            right=left + 5,
            bottom=9,
            version=228,
            name=str(left),
            **place,
        )

    for places in ([{"position": 2}, {"position": 2}, {}], [{"c_position": 1}, {"c_position": 2, "t_position": 3}]):
        rois = [selection(10 * index, **place) for index, place in enumerate(places)]
        roifile.roiwrite(tmp_path / "a.zip", rois, mode="w")
        labels, found = read(tmp_path / "a.zip", (40, 70))
        assert labels.max() == len(places) and not found
    for axis in ("position", "z_position", "t_position"):
        roifile.roiwrite(tmp_path / "a.zip", [selection(0, **{axis: 1}), selection(9, **{axis: 4})], mode="w")
        labels, found = read(tmp_path / "a.zip", (40, 70))
        assert labels is None and "holds selections of 2 slices or frames" in found[0].detail


def test_what_macos_adds_to_a_zip_is_no_selection(tmp_path):
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=2, top=3, right=8, bottom=7)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("set/1.roi", rectangle.tobytes())
        archive.writestr("__MACOSX/set/._1.roi", b"\0\5\x16\7")
    labels, found = read(tmp_path / "a.zip", (40, 70))
    assert np.count_nonzero(labels) == 24 and not found


def test_features_as_qupath_writes_them(tmp_path):
    cell = feature(box(0, 0, 12), nucleusGeometry={"type": "Polygon", "coordinates": [box(3, 3, 5)]})
    with_hole = feature(box(20, 0, 10), box(23, 3, 4))
    in_pieces = feature([box(0, 20, 4)], [box(8, 20, 4)], kind="MultiPolygon")
    line = feature([0, 0], [5, 5], kind="LineString")
    expected = np.zeros((30, 40), int)
    expected[3:8, 3:8], expected[:10, 20:30], expected[20:24, :4], expected[20:24, 8:12] = 1, 2, 3, 3
    expected[3:7, 23:27] = 0
    labels, found = read(write_features(tmp_path / "a.geojson", cell, with_hole, line, in_pieces), (30, 40))
    np.testing.assert_array_equal(labels, expected)
    assert whats(found) == [(problems.NO_AREA, False), (problems.IN_PIECES, False)]
    # Without "export as FeatureCollection", and a single object.
    (tmp_path / "a.geojson").write_text(json.dumps([cell, with_hole, in_pieces]))
    np.testing.assert_array_equal(read(tmp_path / "a.geojson", (30, 40))[0], expected)
    (tmp_path / "a.geojson").write_text(json.dumps(cell))
    np.testing.assert_array_equal(read(tmp_path / "a.geojson", (30, 40))[0], expected == 1)


def test_what_qupath_ignores_is_no_nucleus(tmp_path):
    nuclei = [feature(box(5 + 12 * n, 5, 6)) for n in range(3)]
    ignored = feature(box(5, 30, 25))
    ignored["properties"] = {
        "objectType": "annotation",
        "classification": {"name": "Ignore*", "color": [180, 180, 180]},
    }
    labels, found = read(write_features(tmp_path / "a.geojson", ignored, *nuclei), (60, 60))
    assert whats(found) == [(problems.NO_AREA, False)] and found[0].detail.startswith("1 of 4")
    assert labels.max() == 3 and np.count_nonzero(labels) == 3 * 36


def test_regions_strangers_and_overlaps_are_fatal(tmp_path):
    nuclei = [feature(box(5 + 12 * n, 5, 6)) for n in range(4)]
    _, found = read(write_features(tmp_path / "a.geojson", feature(box(0, 0, 50)), *nuclei), (60, 60))
    assert (problems.REGION, True) in whats(found)
    _, found = read(write_features(tmp_path / "a.geojson", *nuclei, feature(box(70, 5, 6))), (60, 60))
    assert (problems.OUTSIDE, True) in whats(found)
    assert "1 of 5, one at x = 72, y = 7; the image has 60 x 60 pixels" in found[0].detail
    _, found = read(write_features(tmp_path / "a.geojson", *nuclei, feature(box(7, 5, 6))), (60, 60))
    assert whats(found) == [(problems.OVERLAP, True)]
    assert read(tmp_path / "a.geojson", None) == (None, [])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "3",
        '"text"',
        "[" * 100_000,
        '{"type": "FeatureCollection"}',
        '{"type": "FeatureCollection", "features": [null]}',
        json.dumps(feature([[0, 0], ["a", 1], [2, 2]])),
        json.dumps(feature([[0, 0], [1], [2, 2]])),
        json.dumps(feature([[0, 0], [float("nan"), 1], [2, 2]])),
        json.dumps(feature([[0, 0], [1e300, 1], [2, 2]])),
        json.dumps(feature([[0, 0], [10**400, 1], [2, 2]])),
        json.dumps(feature(3)),
        json.dumps(feature([[0, 0], [0, 1e8]] * 5000)),
    ],
)
def test_damaged_geojson_gives_one_sentence(tmp_path, content):
    (tmp_path / "a.geojson").write_text(content)
    labels, found = read(tmp_path / "a.geojson", (2000, 30))
    assert labels is None and whats(found) == [(problems.UNREADABLE_MASK, True)]
    assert "\n" not in str(found[0]) and len(str(found[0])) < 400


def test_damaged_selections_give_one_sentence_or_a_label_map(tmp_path, label_map):
    write_rois(tmp_path / "a.zip", label_map)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    rng, refused = np.random.default_rng(0), 0
    for number in range(1000):
        damaged = bytearray(contents[number % len(contents)])
        for place in rng.integers(0, min(len(damaged), 140), 3):
            damaged[place] = rng.integers(256)
        (tmp_path / "a.roi").write_bytes(damaged[: rng.integers(len(damaged))] if number % 4 == 0 else damaged)
        labels, found = read(tmp_path / "a.roi", label_map.shape)
        refused += labels is None
        assert labels is not None or whats(found) == [(problems.UNREADABLE_MASK, True)]
    assert refused > 100
    packed = (tmp_path / "a.zip").read_bytes()
    for number in range(300):
        damaged = bytearray(packed)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        (tmp_path / "b.zip").write_bytes(damaged[: rng.integers(len(damaged))] if number % 4 == 0 else damaged)
        labels, found = read(tmp_path / "b.zip", label_map.shape)
        assert labels is not None or any(problem.fatal for problem in found)


def test_a_zip_that_is_no_set_of_selections_or_too_large(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("image.png", b"")
    assert "is a zip without selections" in read(tmp_path / "a.zip", (9, 9))[1][0].detail
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("1.roi", "w") as member,
    ):
        for _ in range(MOST_BYTES // 10**6 + 1):
            member.write(bytes(10**6))
    assert "holds 1 selections of 201,000,000 bytes" in read(tmp_path / "a.zip", (9, 9))[1][0].detail
    assert whats(read(tmp_path / "absent.roi", (9, 9))[1]) == [(problems.UNREADABLE_MASK, True)]


def test_composite_selections_may_have_curves(tmp_path):
    """A circle of radius 10 as Java draws it, of four Bezier curves, with a triangle of straight lines cut out."""
    k = 10 * 4 * (np.sqrt(2) - 1) / 3
    centre = np.array([20.0, 20.0])
    path, corners = [0, *(centre + (10, 0))], [(10, 0), (0, 10), (-10, 0), (0, -10), (10, 0)]
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        controls = centre + start + np.divide(end, 10) * k, centre + end + np.divide(start, 10) * k
        path += [3, *controls[0], *controls[1], *(centre + end)]
    path += [4, 0, 18, 18, 1, 22, 18, 1, 18, 22, 4]
    roi = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, left=10, top=10, right=30, bottom=30,
        shape_roi_size=len(path), multi_coordinates=np.array(path, np.float32),
    )  # fmt: skip
    roi.tofile(tmp_path / "a.roi")
    labels, found = read(tmp_path / "a.roi", (40, 40))
    assert labels.sum() == pytest.approx(np.pi * 100 - 8, abs=6) and not found
    assert not labels[18, 18] and labels[20, 11] and labels[27, 15]

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from segmentation.results.outlines import trace_outlines
from tests.results.shapes import CASES, fill, fill_labels


def signed_area(ring):
    closed = np.vstack([ring, ring[:1]]).astype(int)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(closed.tolist())) / 2


@pytest.mark.parametrize("labels", CASES.values(), ids=CASES.keys())
class TestEveryCase:
    def test_filled_outlines_are_the_label_map(self, labels):
        outlines = trace_outlines(labels)
        assert list(outlines) == np.unique(labels[labels > 0]).tolist()
        rings = {label: [ring for polygon in polygons for ring in polygon] for label, polygons in outlines.items()}
        assert np.array_equal(fill_labels(rings, labels.shape), labels)

    def test_each_polygon_is_a_piece_with_its_own_holes(self, labels):
        for label, polygons in trace_outlines(labels).items():
            pieces, count = ndimage.label(labels == label)
            assert len(polygons) == count
            found = {int(np.unique(pieces[fill(polygon, labels.shape)]).item()) for polygon in polygons}
            assert found == set(range(1, count + 1))

    def test_rings_are_simple_and_turn_at_every_corner(self, labels):
        for polygons in trace_outlines(labels).values():
            for ring in (ring for polygon in polygons for ring in polygon):
                assert len(np.unique(ring, axis=0)) == len(ring)
                steps = np.roll(ring, -1, axis=0) - ring
                level = steps[:, 1] == 0
                assert np.array_equal(steps[:, 0] != 0, level)
                assert (level != np.roll(level, 1)).all()

    def test_outer_rings_have_a_positive_area_and_holes_a_negative_one(self, labels):
        for label, polygons in trace_outlines(labels).items():
            assert all(signed_area(outer) > 0 for outer, *_ in polygons)
            assert all(signed_area(hole) < 0 for _, *holes in polygons for hole in holes)
            assert sum(signed_area(ring) for polygon in polygons for ring in polygon) == (labels == label).sum()


def test_many_small_label_maps_are_filled_exactly():
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = tuple(rng.integers(1, 10, 2))
        labels = rng.integers(0, 3, shape) * (rng.random(shape) < rng.uniform(0.4, 1))
        outlines = trace_outlines(labels)
        rings = {label: [ring for polygon in polygons for ring in polygon] for label, polygons in outlines.items()}
        assert np.array_equal(fill_labels(rings, shape), labels)


def test_the_corners_are_those_of_pixels_clockwise_from_the_top_left():
    assert trace_outlines(np.array([[0, 7, 7]]))[7][0][0].tolist() == [[1, 0], [3, 0], [3, 1], [1, 1]]


def test_no_nuclei_no_outlines():
    assert trace_outlines(np.zeros((4, 5), np.int32)) == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_integers_of_every_kind(dtype):
    assert list(trace_outlines(np.full((2, 2), 200).astype(dtype))) == [200]


def test_a_nucleus_of_thousands_of_pieces_and_holes_takes_no_time_worth_mentioning():
    labels = (np.random.default_rng(0).random((400, 400)) < 0.55).astype(np.int32)
    (polygons,) = trace_outlines(labels).values()
    assert len(polygons) == ndimage.label(labels)[1] > 1000

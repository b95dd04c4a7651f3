import csv
import io

import numpy as np
import pytest
from skimage.measure import regionprops

from data.draw_samples import draw_stained
from segmentation.results.tables import COLUMNS, measure_nuclei, table_rows

RGB = ("red", "green", "blue")


def regionprops_table(labels, pixels, names):
    """The same table by scikit-image, one nucleus after the other."""
    rows = []
    for region in regionprops(labels, pixels):
        top, left, bottom, right = region.bbox
        rows.append(
            {
                "label": region.label,
                "area": region.area,
                "centroid_y": region.centroid[0],
                "centroid_x": region.centroid[1],
                "bbox_min_y": top,
                "bbox_min_x": left,
                "bbox_max_y": bottom,
                "bbox_max_x": right,
                "eccentricity": region.eccentricity,
                "solidity": region.area / region.image_convex.sum(),
                **{f"mean_intensity_{n}": region.intensity_mean[i] for i, n in enumerate(names)},
                "touches_edge": top == 0 or left == 0 or bottom == labels.shape[0] or right == labels.shape[1],
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def drawn():
    image, labels = draw_stained(np.random.default_rng(6), (150, 130))
    return image, labels.astype(np.int32)


def scattered():
    """Nuclei of one pixel, of one row or column, in pieces, with holes, with gaps in the numbering."""
    rng = np.random.default_rng(1)
    labels = np.zeros((60, 70), np.uint16)
    labels[0, 0], labels[59, 69], labels[30, 5] = 3, 4, 9
    labels[10, 5:19], labels[12:30, 40] = 12, 13
    labels[40:50, 10:20] = 20
    labels[43:46, 13:17] = 0
    labels[45:48, 30:33], labels[52:55, 36:39] = 21, 21
    labels[2:22, 45:65][rng.random((20, 20)) < 0.3] = 30
    labels[np.tri(60, 70, -45, dtype=bool)] = 31
    return rng.integers(0, 4000, (60, 70, 3)).astype(np.uint16), labels


@pytest.mark.parametrize("case", [drawn, scattered])
def test_equals_regionprops(case):
    pixels, labels = case()
    table, expected = measure_nuclei(labels, pixels, RGB), regionprops_table(labels, pixels, RGB)
    assert list(table) == list(expected)
    for name, column in table.items():
        assert column == pytest.approx(np.array(expected[name]), abs=1e-6), name


def test_random_shapes_have_the_convex_hull_of_regionprops():
    rng = np.random.default_rng(2)
    for _ in range(20):
        labels = (rng.random((25, 25)) < 0.02).astype(int) + 2 * (rng.random((25, 25)) < 0.01)
        table = measure_nuclei(labels, labels[..., None], ("grey",))
        expected = [region.area / region.image_convex.sum() for region in regionprops(labels)]
        assert table["solidity"] == pytest.approx(np.array(expected))


def test_a_disk_and_a_square_have_the_values_of_geometry():
    y, x = np.mgrid[:101, :201]
    labels = (np.hypot(y - 50, x - 50) <= 40).astype(np.int32)
    labels[30:70, 120:180] = 2
    table = measure_nuclei(labels, np.where(labels == 2, 7.5, 1)[..., None].astype(np.float32), ("grey",), 0.5)
    assert table["area"].tolist() == [(labels == 1).sum(), 2400]
    assert table["area"][0] == pytest.approx(np.pi * 40**2, rel=0.01)
    assert table["eccentricity"][0] == pytest.approx(0, abs=1e-6)
    assert table["eccentricity"][1] == pytest.approx(np.sqrt(1 - (40**2 - 1) / (60**2 - 1)))
    assert table["solidity"] == pytest.approx(np.array([1, 1]), abs=0.02)  # a disk of pixels is not quite convex
    assert (table["centroid_y"][1], table["centroid_x"][1]) == (49.5, 149.5)
    assert table["mean_intensity_grey"].tolist() == [1, 7.5]
    assert table["touches_edge"].tolist() == [False, False]
    assert table["area_um2"][1] == 600
    assert (table["centroid_y_um"][1], table["centroid_x_um"][1]) == (24.75, 74.75)
    box = [table[f"bbox_{end}_{axis}_um"][1] for end in ("min", "max") for axis in "yx"]
    assert box == [15, 60, 35, 90]


def test_far_from_the_origin_no_digits_are_lost():
    labels, at_origin = np.zeros((8, 60_000), np.int32), np.zeros((8, 20), np.int32)
    labels[2:5, 59_985:59_994] = at_origin[2:5, 5:14] = 1
    far, near = (measure_nuclei(m, np.ones((*m.shape, 1)), ("grey",)) for m in (labels, at_origin))
    assert far["eccentricity"] == pytest.approx(near["eccentricity"], rel=1e-12)
    assert far["solidity"] == near["solidity"]


def test_no_nuclei_no_rows():
    table = measure_nuclei(np.zeros((5, 6), np.int32), np.zeros((5, 6, 1)), ("grey",), 0.5)
    assert all(len(column) == 0 for column in table.values())
    assert table_rows("a", table) == []


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="expected"):
        measure_nuclei(np.zeros((5, 6), int), np.zeros((6, 5, 1)), ("grey",))
    with pytest.raises(ValueError, match="expected"):
        measure_nuclei(np.zeros((5, 6), int), np.zeros((5, 6, 3)), ("grey",))


def test_rows_fit_the_header_whatever_the_image():
    pixels, labels = drawn()
    colour = table_rows("a, b", measure_nuclei(labels, pixels, RGB))
    grey = table_rows("c", measure_nuclei(labels, pixels[..., :1], ("grey",), 0.5))
    stream = io.StringIO()
    csv.writer(stream).writerows([COLUMNS, *colour, *grey])
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert len(rows) == 2 * labels.max()
    first, last = rows[0], rows[-1]
    assert (first["image"], last["image"]) == ("a, b", "c")
    assert first["mean_intensity_grey"] == first["area_um2"] == last["mean_intensity_red"] == ""
    assert int(first["area"]) == (labels == 1).sum()
    assert float(last["area_um2"]) == int(last["area"]) / 4
    assert first["touches_edge"] in ("true", "false")
    assert float(first["mean_intensity_red"]) == pytest.approx(pixels[labels == 1, 0].mean(), rel=1e-6)


def test_every_column_is_in_the_header_in_order():
    pixels, labels = drawn()
    names = list(measure_nuclei(labels, pixels, RGB, 0.5))
    assert names == [name for name in COLUMNS if name in names]
    assert set(COLUMNS) - set(names) == {"image", "mean_intensity_grey"}

import csv
import io

import numpy as np
import pytest
from skimage.measure import regionprops

from data.draw_samples import draw_stained
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import Image
from segmentation.results.measurement import measure_image, measure_nuclei, merge_parts
from segmentation.results.nuclei_csv import COLUMNS, further_columns, table_rows

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
                "perimeter": region.perimeter,
                "axis_major_length": region.axis_major_length,
                "axis_minor_length": region.axis_minor_length,
                "orientation": region.orientation,
                "equivalent_diameter": region.equivalent_diameter_area,
                **{
                    f"{figure}_intensity_{name}": value
                    for i, name in enumerate(names)
                    for figure, value in (
                        ("min", region.intensity_min[i]),
                        ("max", region.intensity_max[i]),
                        ("std", region.intensity_std[i]),
                        ("sum", region.image_intensity[region.image, i].sum(dtype=float)),
                    )
                },
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def assert_equal_tables(table, expected):
    assert list(table) == list(expected)
    for name, column in table.items():
        if name == "orientation":  # an angle and that plus pi are one; rounding decides it where no axis is longer
            longer = np.array(expected["axis_major_length"]) - expected["axis_minor_length"] > 1e-4
            turned = 2 * (column - expected[name])[longer]
            assert np.cos(turned) == pytest.approx(np.ones(longer.sum()), abs=1e-6)
            assert (np.abs(column) <= np.pi / 2).all()
        else:
            assert column == pytest.approx(np.array(expected[name]), rel=1e-6, abs=1e-6), name


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


def lines():
    """Lines in all directions, one and two pixels wide, and letters at the edges of the image."""
    labels = np.zeros((90, 120), np.int32)
    for number, angle in enumerate(np.linspace(-np.pi / 2, np.pi / 2, 9)):
        top, left = 24 + 40 * (number // 5), 12 + 24 * (number % 5)
        steps = np.arange(-9, 10)
        y, x = (np.rint(steps * part).astype(int) for part in (np.cos(angle), np.sin(angle)))
        labels[top + y, left + x] = 2 * number + 5
        if number % 2:
            labels[top + y, left + x + 1] = 2 * number + 5
    labels[0, :7], labels[:9, 0], labels[89, 100:], labels[70:90, 119] = 100, 101, 102, 103
    labels[84:, 50:53], labels[88:, 53:60] = 104, 104
    return np.random.default_rng(3).integers(0, 255, (90, 120, 3)).astype(np.uint8), labels


def touching():
    """Blocks of noise that touch one another on all sides, in uint32 and with floats as intensities."""
    rng = np.random.default_rng(4)
    labels = np.kron(np.arange(1, 31).reshape(5, 6), np.ones((9, 8), int)).astype(np.uint32) * 1000
    labels = np.where(rng.random(labels.shape) < 0.8, labels, 0)
    return rng.normal(1000, 5, (*labels.shape, 3)), labels


CASES = [drawn, scattered, lines, touching]


@pytest.mark.parametrize("case", CASES)
def test_equals_regionprops(case):
    pixels, labels = case()
    assert_equal_tables(measure_nuclei(labels, pixels, RGB), regionprops_table(labels, pixels, RGB))


@pytest.mark.parametrize("case", CASES)
def test_sides_of_a_pixel_that_differ_are_the_spacing_of_regionprops(case):
    pixels, labels = case()
    table = measure_nuclei(labels, pixels, RGB, (0.5, 0.2))
    regions = regionprops(labels, spacing=(0.5, 0.2))
    expected = {
        "area_um2": [region.area for region in regions],
        "centroid_y_um": [region.centroid[0] for region in regions],
        "centroid_x_um": [region.centroid[1] for region in regions],
        "axis_major_length_um": [region.axis_major_length for region in regions],
        "axis_minor_length_um": [region.axis_minor_length for region in regions],
        "equivalent_diameter_um": [region.equivalent_diameter_area for region in regions],
        "bbox_min_y_um": [region.bbox[0] * 0.5 for region in regions],
        "bbox_max_x_um": [region.bbox[3] * 0.2 for region in regions],
    }
    for name, values in expected.items():
        assert table[name] == pytest.approx(np.array(values), rel=1e-6, abs=1e-5), name
    # The other columns are in pixels, and a perimeter is not defined.
    square = measure_nuclei(labels, pixels, RGB, (0.5, 0.5))
    assert table.keys() == square.keys() - {"perimeter_um"}
    for name in table:
        if "_um" not in name:
            np.testing.assert_array_equal(table[name], square[name])


def test_orientation_is_that_of_regionprops_where_no_axis_is_longer():
    labels = np.zeros((30, 60), int)
    labels[2, 2], labels[5:9, 5:9] = 1, 2
    labels[20, 5:12] = labels[17:24, 8] = 3
    labels[np.hypot(*(np.indices(labels.shape) - np.array([15, 40])[:, None, None])) < 9] = 4
    found = measure_nuclei(labels, labels[..., None], ("grey",))["orientation"]
    assert found.tolist() == [region.orientation for region in regionprops(labels)] == [-np.pi / 4] * 4


@pytest.mark.parametrize(
    ("dtype", "mean", "std"), [(np.uint16, 65_000, 0.5), (np.float32, 1e6, 0.5), (np.float32, 0.02, 1e-5)]
)
def test_intensities_that_hardly_vary(dtype, mean, std):
    labels = np.repeat(np.arange(1, 5), 5000).reshape(100, 200)
    pixels = np.random.default_rng(0).normal(mean, std, (100, 200, 1)).astype(dtype)
    table = measure_nuclei(labels, pixels, ("grey",))
    for row, label in enumerate(table["label"]):
        values = pixels[labels == label].astype(float)
        assert table["std_intensity_grey"][row] == pytest.approx(values.std(), rel=1e-9)
        assert table["sum_intensity_grey"][row] == pytest.approx(values.sum(), rel=1e-12)
    assert table["sum_intensity_grey"].dtype.kind == ("i" if dtype == np.uint16 else "f")


@pytest.mark.parametrize("case", CASES)
def test_parts_merge_into_the_whole(case):
    """Bands of an image, whose parts of each nucleus are put together again."""
    pixels, labels = case()
    whole = measure_nuclei(labels, pixels, RGB)
    bands = []
    for top in range(0, len(labels), 7):
        band = measure_nuclei(labels[top : top + 7], pixels[top : top + 7], RGB)
        for name in ("centroid_y", "bbox_min_y", "bbox_max_y"):
            band[name] = band[name] + top
        bands.append(band)
    parts = {name: np.concatenate([band[name] for band in bands]) for name in whole}
    for row, label in enumerate(whole["label"]):
        own = {name: values[parts["label"] == label] for name, values in parts.items()}
        merged = merge_parts(own, RGB)
        assert set(whole) - set(merged) == {"label", "solidity", "perimeter", "touches_edge"}
        major, minor = whole["axis_major_length"][row], whole["axis_minor_length"][row]
        for name, (value,) in merged.items():
            if name == "orientation":
                if major - minor > 1e-3:
                    assert np.cos(2 * (value - whole[name][row])) == pytest.approx(1, abs=1e-6)
            elif name == "eccentricity":  # its root magnifies rounding near a circle
                assert value == pytest.approx(whole[name][row], abs=1e-5)
            else:
                assert value == pytest.approx(whole[name][row], rel=1e-6, abs=1e-5), name


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
    table = measure_nuclei(labels, np.where(labels == 2, 7.5, 1)[..., None].astype(np.float32), ("grey",), (0.5, 0.5))
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
    assert table["perimeter_um"][1] == table["perimeter"][1] / 2 == (2 * 39 + 2 * 59) / 2
    assert table["equivalent_diameter_um"][1] == pytest.approx(np.sqrt(4 * 600 / np.pi))
    assert table["axis_major_length_um"][1] == pytest.approx(2 * np.sqrt((60**2 - 1) / 12))
    assert table["axis_minor_length_um"][1] == pytest.approx(2 * np.sqrt((40**2 - 1) / 12))
    assert table["orientation"][1] == np.pi / 2, "along a row"


def test_far_from_the_origin_no_digits_are_lost():
    labels, at_origin = np.zeros((8, 60_000), np.int32), np.zeros((8, 20), np.int32)
    labels[2:5, 59_985:59_994] = at_origin[2:5, 5:14] = 1
    far, near = (measure_nuclei(m, np.ones((*m.shape, 1)), ("grey",)) for m in (labels, at_origin))
    assert far["eccentricity"] == pytest.approx(near["eccentricity"], rel=1e-12)
    assert far["solidity"] == near["solidity"]


def test_no_nuclei_no_rows():
    table = measure_nuclei(np.zeros((5, 6), np.int32), np.zeros((5, 6, 1)), ("grey",), (0.5, 0.5))
    assert all(len(column) == 0 for column in table.values())
    assert list(table_rows("a", table)) == []


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="expected"):
        measure_nuclei(np.zeros((5, 6), int), np.zeros((6, 5, 1)), ("grey",))
    with pytest.raises(ValueError, match="expected"):
        measure_nuclei(np.zeros((5, 6), int), np.zeros((5, 6, 3)), ("grey",))


def test_rows_fit_the_header_whatever_the_image():
    pixels, labels = drawn()
    colour = list(table_rows("a, b", measure_nuclei(labels, pixels, RGB)))
    grey = list(table_rows("c", measure_nuclei(labels, pixels[..., :1], ("grey",), (0.5, 0.5))))
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
    names = list(measure_nuclei(labels, pixels, RGB, (0.5, 0.5)))
    assert names == [name for name in COLUMNS if name in names]
    figures = ("mean", "min", "max", "std", "sum")
    assert set(COLUMNS) - set(names) == {"image", *(f"{figure}_intensity_grey" for figure in figures)}


def test_the_columns_of_the_first_release_come_first():
    assert ",".join(COLUMNS).startswith(
        "image,label,area,centroid_y,centroid_x,bbox_min_y,bbox_min_x,bbox_max_y,bbox_max_x,eccentricity,solidity,"
        "mean_intensity_grey,mean_intensity_red,mean_intensity_green,mean_intensity_blue,touches_edge,area_um2,"
        "centroid_y_um,centroid_x_um,bbox_min_y_um,bbox_min_x_um,bbox_max_y_um,bbox_max_x_um,perimeter,"
    )


def test_other_channels_have_columns_after_all_others():
    pixels, labels = drawn()
    names = ("DAPI", "red", "a,b")
    header = [*COLUMNS, *further_columns(names)]
    rows = list(table_rows("a", measure_nuclei(labels, pixels, names)))
    row = dict(zip(header, rows[0], strict=True))
    for index, name in enumerate(names):
        assert float(row[f"mean_intensity_{name}"]) == pytest.approx(pixels[labels == 1, index].mean(), rel=1e-6)
        assert int(row[f"sum_intensity_{name}"]) == pixels[labels == 1, index].sum(dtype=int)
    assert row["mean_intensity_grey"] == ""


def test_all_channels_of_the_file_are_measured_under_their_names():
    pixels, labels = drawn()
    image = Image(pixels[..., 1:2], ("grey",), PixelSize(0.5, 0.5), pixels, ("DAPI", "grey", "GFP"))
    table = measure_image(labels, image)
    for name, channel in (("DAPI", 0), ("grey", 1), ("GFP", 2)):
        assert table[f"mean_intensity_{name}"][0] == pytest.approx(pixels[labels == 1, channel].mean())
    rows = list(table_rows("a", table))
    assert {len(row) for row in rows} == {len(COLUMNS) + len(further_columns(image.measured_names))}


def test_without_a_choice_the_pixels_are_measured():
    pixels, labels = drawn()
    table, expected = measure_image(labels, Image(pixels, RGB, None)), measure_nuclei(labels, pixels, RGB)
    assert list(table) == list(expected)

import numpy as np
import pytest

from segmentation.targets.geometry import measure_nuclei
from tests.targets.label_maps import LABEL_MAPS, draw_disks


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_every_nucleus_measured_one_after_another(name):
    label_map = LABEL_MAPS[name]()
    nuclei = measure_nuclei(label_map)
    rows, columns = np.nonzero(label_map)
    assert np.array_equal(nuclei.rows, rows) and np.array_equal(nuclei.columns, columns)
    for label in np.unique(label_map[label_map > 0]):
        own = label_map[rows, columns] == label
        y, x = rows[own], columns[own]
        np.testing.assert_allclose(nuclei.radius[own], np.sqrt(own.sum() / np.pi))
        (centre_row,), (centre_column,) = np.unique(nuclei.centre_rows[own]), np.unique(nuclei.centre_columns[own])
        assert label_map[centre_row, centre_column] == label
        squared_distance = (y - y.mean()) ** 2 + (x - x.mean()) ** 2
        chosen = (centre_row - y.mean()) ** 2 + (centre_column - x.mean()) ** 2
        assert chosen == pytest.approx(squared_distance.min(), abs=1e-9)


def test_a_disk_is_known_by_heart():
    nuclei = measure_nuclei(draw_disks((60, 80), (31, 47, 20)))
    assert set(nuclei.centre_rows) == {31} and set(nuclei.centre_columns) == {47}
    assert nuclei.radius == pytest.approx(20, rel=0.01)


def test_no_nuclei():
    nuclei = measure_nuclei(np.zeros((4, 5), np.int32))
    assert {len(values) for values in vars(nuclei).values()} == {0}

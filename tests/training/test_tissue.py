import cv2
import numpy as np
import pytest

from segmentation.training import tissue


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_nuclei_are_drawn_where_they_are(cells, rng):
    image = np.uint8(np.where(cells > 0, 150 + cells, 12))[..., None].repeat(3, axis=-1)
    for _ in range(20):
        density = tissue.draw_nuclei(image, cells, rng)
        assert density.dtype == np.float32 and density.min() >= 0
        far = cv2.dilate(np.uint8(cells > 0), np.ones((15, 15))) == 0
        assert density[far].max() < 0.01
        means = np.bincount(cells.ravel(), density.ravel())[1:] / np.maximum(np.bincount(cells.ravel())[1:], 1)
        assert means[np.unique(cells)[1:] - 1].min() > 0.03  # each of them is seen
    assert not tissue.draw_nuclei(image, np.zeros_like(cells), rng).any()


def test_tissue_is_clouds_fibres_and_holes(cells, rng):
    drawn = np.stack([tissue.draw_tissue(cells, rng) for _ in range(60)])
    assert drawn.shape[1:] == cells.shape and drawn.min() >= 0 and drawn.max() <= 2
    assert np.median(drawn) == pytest.approx(0.5, abs=0.2)
    has_holes = (drawn < 0.05).mean((1, 2)) > 0.02
    assert 0.15 < has_holes.mean() < 0.8


@pytest.mark.parametrize("grain", [2, 6, 20])
def test_noise_has_unit_variance_and_spots_of_its_grain(grain, rng):
    noise = np.stack([tissue.draw_noise(rng, (120, 90), grain) for _ in range(100)])
    assert noise.shape == (100, 120, 90) and noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=0.1) and noise.std() == pytest.approx(1, abs=0.1)
    near, far = ((noise[:, step:] * noise[:, :-step]).mean() for step in (max(grain // 4, 1), 3 * grain))
    assert near > 0.5 and abs(far) < 0.15


def test_red_blood_cells_leave_room_for_nuclei(cells, rng):
    drawn = [tissue.draw_red_cells(cells, rng) for _ in range(20)]
    assert np.max(drawn) > 0.5 and np.min(drawn) == 0
    assert max(cells_drawn[cells > 0].mean() for cells_drawn in drawn) < 0.05


@pytest.mark.parametrize(("radii", "expected"), [((), 0), ((9,), 18), ((4, 9, 12), 18)])
def test_median_diameter(radii, expected):
    label_map = np.zeros((60, 100), np.int32)
    for number, radius in enumerate(radii):
        cv2.circle(label_map, (15 + 30 * number, 30), radius, 2 * number + 1, -1)  # some labels are not there
    assert tissue.median_diameter(label_map) == pytest.approx(expected, rel=0.05)

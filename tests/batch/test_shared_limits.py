import cv2
import numpy as np
import pytest
import tifffile

from segmentation.batch.inputs import InputError, find_inputs
from segmentation.batch.shared_limits import shared_limits
from segmentation.data.normalisation import Normalisation, SharedLimits


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number, (brightest, shape) in enumerate([(50, (40, 50, 3)), (200, (60, 30)), (120, (70, 45))]):
        cv2.imwrite(str(tmp_path / f"cell{number}.png"), rng.integers(0, brightest, shape, dtype=np.uint8))
    return tmp_path


def test_they_are_the_percentiles_of_all_pixels_together(folder):
    pictures = [cv2.imread(str(file)).reshape(-1, 3) for file in sorted(folder.glob("*.png"))]
    limits = np.percentile(np.concatenate(pictures), (1, 99.9), axis=0, method="inverted_cdf")
    expected = limits[0].min(), limits[1].max()
    assert shared_limits(find_inputs([str(folder)]), Normalisation()) == expected


def test_files_that_cannot_be_read_do_not_count(folder):
    expected = shared_limits(find_inputs([str(folder)]), Normalisation())
    (folder / "bad.png").write_bytes(b"")
    assert shared_limits(find_inputs([str(folder)]), Normalisation()) == expected
    assert shared_limits(find_inputs([str(folder / "bad.png")]), Normalisation()) is None


def test_depths_are_not_mixed(folder):
    tifffile.imwrite(folder / "deep.tif", np.full((9, 9), 4000, np.uint16))
    with pytest.raises(InputError, match=r"deep\.tif holds uint16 and .*cell0\.png uint8, where images of one depth"):
        shared_limits(find_inputs([str(folder)]), Normalisation())


def test_shared_limits_are_those_of_every_image(folder):
    same = SharedLimits(shared=(10.0, 90.0))
    pixels = np.full((4, 4, 1), 50, np.uint8)
    assert same.limits(pixels) == same.limits_of_blocks(lambda: [pixels]) == (10, 90)
    assert np.allclose(same.apply(pixels, same.limits(pixels)), 0.5)

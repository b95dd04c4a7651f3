import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from segmentation.data.formats.pixel_size import PixelSize
from segmentation.results.probabilities import write_probabilities


def test_the_first_channel_is_read_back_within_half_a_level(tmp_path):
    channels = np.random.default_rng(0).random((33, 47, 3), np.float32)
    channels[0, :2, 0] = -0.1, 1.1
    write_probabilities(tmp_path / "a.tif", channels)
    stored = tifffile.imread(tmp_path / "a.tif")
    assert stored.dtype == np.uint8
    np.testing.assert_allclose(stored / 255, channels[..., 0].clip(0, 1), atol=0.5 / 255 + 1e-6)


def test_the_scale_stands_where_imagej_looks_for_it(tmp_path):
    write_probabilities(tmp_path / "a.tif", np.zeros((5, 6, 1), np.float32), pixel_size_um=PixelSize(0.25, 0.25))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "YX" and file.imagej_metadata["unit"] == "um"
        pixels, micrometres = file.pages[0].tags["XResolution"].value
        assert pixels / micrometres == pytest.approx(4)
    assert PillowImage.open(tmp_path / "a.tif").tag_v2[283] == pytest.approx(4)

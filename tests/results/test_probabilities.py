import numpy as np
import tifffile

from segmentation.results.probabilities import write_probabilities


def test_the_first_channel_is_read_back_within_half_a_level(tmp_path):
    channels = np.random.default_rng(0).random((33, 47, 3), np.float32)
    channels[0, :2, 0] = -0.1, 1.1
    write_probabilities(tmp_path / "a.tif", channels)
    stored = tifffile.imread(tmp_path / "a.tif")
    assert stored.dtype == np.uint8
    np.testing.assert_allclose(stored / 255, channels[..., 0].clip(0, 1), atol=0.5 / 255 + 1e-6)

import numpy as np
import pytest

from data.draw_samples import draw_stained
from segmentation.data.images import RGB, Image
from segmentation.data.large import as_large
from segmentation.large.glass import is_glass
from segmentation.large.predict import predict_large
from segmentation.prediction.engines import open_engine
from segmentation.prediction.opening import open_predictor
from tests.prediction.tiny_model import write_tiny_bundle

pytestmark = pytest.mark.slow


class Recording:
    """An engine that adds up the pixels that it sees."""

    def __init__(self, engine):
        self._engine, self.pixels = engine, 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def __call__(self, tiles):
        self.pixels += tiles[..., 0].size
        return self._engine(tiles)


@pytest.fixture(scope="module")
def slide():
    """A little stained tissue on glass with the noise of a camera."""
    rng = np.random.default_rng(2)
    pixels = np.clip(rng.normal(243, 2, (5000, 4000, 3)), 0, 255).astype(np.uint8)
    for row in range(2000, 2800, 200):
        for column in range(1200, 2000, 200):
            pixels[row : row + 200, column : column + 200] = draw_stained(rng, (200, 200))[0]
    return pixels


@pytest.mark.parametrize("changed", [lambda pixels: pixels, lambda pixels: 255 - pixels])
def test_glass_of_a_stained_slide_is_not_predicted_and_no_other(slide, tmp_path, changed):
    bundle = write_tiny_bundle(tmp_path / "model")
    engine = Recording(open_engine(bundle))
    predictor = open_predictor(bundle, engine)
    pixels = changed(slide)
    prediction = predict_large("slide", as_large("slide", Image(pixels, RGB, None)), "0", tmp_path / "b", predictor)
    labels = np.concatenate(list(prediction.bands()))
    # This network takes all that is bright for nuclei: glass, too, if it sees it.
    if changed(np.uint8(0)) == 0:
        assert engine.pixels < pixels[..., 0].size / 3
        assert not labels[:1000].any() and not labels[-1000:].any()
    else:
        assert engine.pixels >= pixels[..., 0].size


def test_a_small_pale_nucleus_is_no_glass():
    tile = np.full((256, 256, 3), 0.96, np.float32)
    assert is_glass(tile)
    rows, columns = np.mgrid[:256, :256]
    for place in range(40, 60):
        nucleus = np.hypot(rows - place, columns - place - 3) < 4
        assert not is_glass(np.where(nucleus[..., None], np.array([0.75, 0.7, 0.8], np.float32), tile))

"""The released network in tiles and whole, on both engines: the margin is as wide as the network sees."""

import functools
from pathlib import Path

import numpy as np
import pytest

from data.draw_samples import draw_fluorescence
from segmentation.bundle import load_bundle
from segmentation.data.normalisation import Normalisation
from segmentation.prediction.engines import open_engine
from segmentation.prediction.planning import plan_tiles
from segmentation.prediction.tiling import predict_batch

pytestmark = pytest.mark.slow

MODEL = Path(__file__).parents[2] / "models" / "nuclei"
SHAPE = 608, 720
LARGEST_TILE = 400 * 400


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(MODEL)


@pytest.fixture(scope="module")
def picture(bundle):
    """Drawn nuclei, and a bright disk on every crossing of seams and between the crossings."""
    pixels = draw_fluorescence(np.random.default_rng(0), SHAPE)[0]
    plan = plan_tiles(SHAPE, bundle.divisor, bundle.receptive_field_radius, LARGEST_TILE)
    assert all(len(spans) > 1 for spans in plan)
    seams, middles = (
        [[place(span) for span in spans] for spans in plan]
        for place in (lambda span: span.valid_start, lambda span: (span.valid_start + span.valid_stop) // 2)
    )
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    for rows, columns in ((seams[0], seams[1]), (seams[0], middles[1]), (middles[0], seams[1])):
        for row in rows:
            for column in columns:
                pixels[(y - row) ** 2 + (x - column) ** 2 < 12**2] = 255
    normalisation = Normalisation(**bundle.normalisation)
    pixels = pixels[..., None]
    return normalisation.apply(pixels, normalisation.limits(pixels))


@pytest.fixture(scope="module")
def predict(bundle, picture):
    """By the name of an engine and the size of the largest tile; the network runs once for each."""

    @functools.cache
    def predicted(name, largest_tile):
        if name == "keras":
            pytest.importorskip("keras")
        sight = bundle.divisor, bundle.receptive_field_radius
        return predict_batch(open_engine(bundle, name), [picture], *sight, largest_tile)[0]

    return predicted


@pytest.mark.parametrize("name", ["openvino", "keras"])
def test_tiled_equals_whole_with_an_object_on_every_seam(predict, name):
    whole, tiled = predict(name, SHAPE[0] * SHAPE[1]), predict(name, LARGEST_TILE)
    assert np.ptp(whole[..., 0]) > 0.9
    np.testing.assert_allclose(tiled, whole, atol=1e-3)


def test_the_files_for_both_engines_hold_the_same_weights(predict):
    keras, openvino = (predict(name, SHAPE[0] * SHAPE[1]) for name in ("keras", "openvino"))
    # model.bin holds them in half precision.
    assert np.quantile(np.abs(keras - openvino), 0.999) < 0.02
    assert np.mean((keras[..., 0] > 0.5) != (openvino[..., 0] > 0.5)) < 1e-3

"""The released network on pictures done by blocks and whole: the same channels, the same mask, the same nuclei."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.bundle import load_bundle
from segmentation.data.images import read_image
from segmentation.data.large import open_large
from segmentation.large.blocks import plan_blocks
from segmentation.large.predict import predict_large
from segmentation.prediction.opening import open_predictor
from segmentation.results.large_measurement import measure_large
from segmentation.results.measurement import measure_nuclei

pytestmark = pytest.mark.slow

MODEL = Path(__file__).parents[2] / "models" / "nuclei"


@pytest.fixture(scope="module")
def bundle():
    if not (MODEL / "bundle.json").exists():
        pytest.skip("there is no models/nuclei")
    return load_bundle(MODEL)


@pytest.mark.parametrize("draw", [draw_fluorescence, draw_stained])
@pytest.mark.parametrize(("diameter", "shape"), [(None, (700, 760)), (30.0, (900, 860))])
def test_by_blocks_as_whole(tmp_path, bundle, draw, diameter, shape):
    tifffile.imwrite(tmp_path / "slide.tif", draw(np.random.default_rng(3), shape)[0], tile=(256, 256))
    predictor = open_predictor(bundle, diameter=diameter)
    found = predictor.find(read_image(tmp_path / "slide.tif"))
    whole = found.labels
    prediction = predict_large(
        "slide",
        open_large(tmp_path / "slide.tif", largest_whole=0),
        "digest",
        tmp_path / "blocks",
        predictor,
        plan=lambda *cut: plan_blocks(*cut, halo=64, largest_tile=432 * 432),
        threads=2,
    )
    assert len(prediction.grid) > 1
    labels = np.concatenate(list(prediction.bands())).astype(int)
    np.testing.assert_array_equal(labels > 0, whole > 0)
    pairs = np.unique(np.stack([whole.ravel(), labels.ravel()]), axis=1)
    alone = [np.bincount(row)[row] == 1 for row in pairs]
    n_same = np.count_nonzero(alone[0] & alone[1] & (pairs[0] > 0))
    # To the pixel: in clusters that reach a seam, a few pixels go to a neighbour, and there are many seams here.
    assert n_same >= 0.93 * whole.max() > 10
    one, other = pairs[:, alone[0] & alone[1] & (pairs[0] > 0)]
    np.testing.assert_allclose(prediction.scores[other - 1], found.scores[one - 1], atol=2e-3)
    assert prediction.scores.shape == (prediction.nuclei,)
    assert prediction.verdict.ap50 == pytest.approx(found.verdict.ap50, abs=0.02)


def test_doubtful_nuclei_are_dropped_by_blocks_too(tmp_path, bundle):
    tifffile.imwrite(tmp_path / "slide.tif", draw_stained(np.random.default_rng(3), (700, 760))[0], tile=(256, 256))
    large = open_large(tmp_path / "slide.tif", largest_whole=0)

    def cut(*arguments):
        return plan_blocks(*arguments, halo=64, largest_tile=432 * 432)

    def predict(name, **options):
        predictor = open_predictor(bundle, diameter=None, **options)
        how = {"plan": cut, "measure": measure_nuclei}
        return predict_large(name, large, "digest", tmp_path / name, predictor, **how)

    everything = predict("all")
    least = float(np.median(everything.scores))
    some = predict("some", min_score=least)
    kept = everything.scores >= least
    numbers = np.append(0, np.cumsum(kept) * kept)
    labels, dropped = (np.concatenate(list(of.bands())).astype(int) for of in (everything, some))
    np.testing.assert_array_equal(dropped, numbers[labels])
    np.testing.assert_array_equal(some.scores, everything.scores[kept])
    assert some.verdict == everything.verdict
    table, whole = measure_large(some), measure_large(everything)
    for name in table.keys() - {"label"}:
        np.testing.assert_allclose(table[name], whole[name][kept], err_msg=name)
    assert measure_large(predict("none", min_score=0.9999))["area"].shape == (0,)

"""What is promised of ``models/nuclei``, the model that `predict_masks.py` uses without being told another."""

from pathlib import Path

import numpy as np
import pytest

from segmentation import load_bundle, segment
from segmentation.bundle import MODEL_FILES
from segmentation.data.images import read_image
from segmentation.data.label_maps import read_label_map
from segmentation.data.splits import read_split
from segmentation.evaluation.scores import score_image, set_figures

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL = REPOSITORY / "models" / "nuclei"
SAMPLE = REPOSITORY / "data" / "sample" / "test"
SHAPE = (256, 320)


def noise(seed, dtype=np.uint8, mean=40, deviation=6, channels=()):
    rng = np.random.default_rng(seed)
    largest = np.iinfo(dtype).max
    return rng.normal(mean, deviation, (*SHAPE, *channels)).round().clip(0, largest).astype(dtype)


def shot_noise(seed):
    return np.random.default_rng(seed).poisson(2.0, SHAPE).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(np.zeros(SHAPE, np.uint8), id="black"),
        pytest.param(np.full(SHAPE, 100, np.uint16), id="grey"),
        pytest.param(np.full((*SHAPE, 3), 255, np.uint8), id="saturated"),
        pytest.param(np.full(SHAPE, 65535, np.uint16), id="saturated, 16 bit"),
        pytest.param(np.full((*SHAPE, 3), (235, 170, 200), np.uint8), id="pink"),
        pytest.param(np.full((*SHAPE, 3), (120, 60, 160), np.uint8), id="purple"),
        pytest.param(noise(0), id="noise"),
        pytest.param(noise(1, np.uint16, 1000, 90), id="noise, 16 bit"),
        pytest.param(noise(2, mean=235, deviation=4), id="noise on white"),
        pytest.param(noise(3, mean=225, deviation=5, channels=(3,)), id="noise in colour"),
        pytest.param(shot_noise(4), id="shot noise"),
    ],
)
def test_nothing_is_found_where_there_is_nothing(picture):
    assert segment(picture).max() == 0


@pytest.mark.parametrize("file", sorted(SAMPLE.glob("images/*.png"))[::3], ids=lambda file: file.stem)
@pytest.mark.parametrize("bits", [12, 16])
def test_the_depth_of_a_picture_makes_no_difference(file, bits):
    """The finer levels of a deeper picture are filled with noise, as a camera does it."""
    shallow, truth = read_image(file).pixels.squeeze(), read_label_map(SAMPLE / "masks" / file.name)
    step = 2 ** (bits - 8)
    deep = shallow * np.uint16(step) + np.random.default_rng(0).integers(0, step, shallow.shape, np.uint16)
    scores = [score_image(truth.astype(np.int32), segment(pixels)) for pixels in (shallow, deep)]
    dice = [set_figures([score])["dice"] for score in scores]
    assert dice[1] == pytest.approx(dice[0], abs=0.01) and dice[0] > 0.5


def test_it_is_small_enough_for_a_repository():
    assert sum(file.stat().st_size for file in MODEL.iterdir() if file.is_file()) < 20_000_000
    assert all(
        (MODEL / name).exists() for name in (*MODEL_FILES, "bundle.json", "history.csv", "curves.png", "README.md")
    )


def test_its_scores_on_the_validation_images_are_those_that_it_states(dsb2018, tmp_path):
    from segmentation.data.training_data import load_training_data
    from segmentation.training.calibration import calibrate

    split = REPOSITORY / "data" / "dsb2018_split.csv"
    data = load_training_data(dsb2018 / "stage1_train.zip", split, seed=0, skip_bad=False, cache_folder=tmp_path)
    images = data.val
    assert len(images) == sum(row.subset == "val" for row in read_split(split).values())
    bundle = load_bundle(MODEL)
    calibrated = calibrate(bundle, images, data.train).bundle
    assert calibrated.thresholds == bundle.thresholds
    for name in ("dice", "ap50", "mean_ap", "bowl"):
        stated, found = (of.scores["figures"][name]["value"] for of in (bundle, calibrated))
        assert found == pytest.approx(stated, abs=0.003), name  # processors round differently

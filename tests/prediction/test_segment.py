import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from segmentation.bundle import BundleError, load_bundle
from segmentation.data.images import Image, read_image
from segmentation.prediction import segment as arrays
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.segment import segment
from tests.prediction.tiny_model import write_tiny_bundle
from tests.prediction.trusting import TRUST

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def grey():
    image = np.random.default_rng(0).integers(0, 30, (50, 63), dtype=np.uint8)
    image[5:20, 8:22] = image[30:41, 40:55] = 200
    return image


@pytest.mark.parametrize("colour", [False, True])
def test_it_is_the_label_map_of_a_file_with_these_pixels(model, grey, tmp_path, colour):
    array = np.stack([grey, grey // 2, grey // 3], axis=-1) if colour else grey
    cv2.imwrite(str(tmp_path / "a.png"), array[..., ::-1] if colour else array)
    expected = open_predictor(load_bundle(model))(read_image(tmp_path / "a.png"))
    labels = segment(array, model)
    assert labels.dtype == np.int32 and labels.shape == (50, 63) and labels.max() > 0
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int16, np.int64, np.float16, np.float32, np.float64])
def test_depth_does_not_matter(model, grey, dtype):
    array = grey.astype(dtype) * (256 if np.dtype(dtype).kind == "u" else 1)
    np.testing.assert_array_equal(segment(array, model), segment(grey, model))
    np.testing.assert_array_equal(segment(array[..., None], model), segment(grey, model))


def test_a_mask_of_bool_is_a_picture_of_black_and_white(model, grey):
    np.testing.assert_array_equal(segment(grey > 100, model), segment(np.uint8(grey > 100), model))


def test_views_and_lists_of_arrays_are_taken_as_they_are_and_left_alone(model, grey):
    expected = segment(grey[::2, ::-1].copy(), model)
    before = grey.copy()
    np.testing.assert_array_equal(segment(grey[::2, ::-1], model), expected)
    np.testing.assert_array_equal(segment(list(grey[::2, ::-1]), model), expected)
    np.testing.assert_array_equal(grey, before)


def test_options_are_heeded(model, grey):
    assert (segment(grey, model, threshold=0.2) > 0).sum() > (segment(grey, model, threshold=0.9) > 0).sum()
    areas = np.bincount(segment(grey, model).ravel())[1:]
    assert segment(grey, model, min_area=areas.max()).max() == 1 < segment(grey, model).max()


def test_the_diameter_is_heeded_and_by_default_looked_for(model, grey):
    bundle, image = load_bundle(model), Image(grey[..., None], ("grey",), None)
    for diameter in (None, 7, "auto"):
        expected = open_predictor(bundle, diameter=diameter)(image)
        np.testing.assert_array_equal(segment(grey, model, diameter=diameter), expected)
    defaults = [inspect.signature(function).parameters["diameter"].default for function in (segment, open_predictor)]
    assert defaults[0] == defaults[1]


def test_the_symmetries_are_averaged_on_request(model, grey):
    """The mean over the symmetries is the same for the turned picture, if none has to be padded."""
    grey = grey[:, :62]
    image = Image(grey[..., None], ("grey",), None)
    expected = open_predictor(load_bundle(model), tta=True)(image)
    np.testing.assert_array_equal(segment(grey, model, tta=True), expected)
    turned = segment(np.rot90(grey), model, tta=True)
    np.testing.assert_array_equal(np.rot90(turned, -1) > 0, expected > 0)


def test_values_that_are_no_numbers_are_background_with_a_warning(model, grey):
    stitched = np.vstack([grey, np.full((20, grey.shape[1]), np.nan)])
    with pytest.warns(UserWarning, match="array holds .* values that are NaN or infinite, taken for background"):
        assert segment(stitched, model).shape == stitched.shape


@pytest.mark.parametrize(
    ("array", "error", "sentence"),
    [
        (np.zeros((3, 40, 50), np.uint8), ValueError, r"\(3, 40, 50\).*np.moveaxis"),
        (np.zeros((40, 50, 4), np.uint8), ValueError, r"\(40, 50, 4\).*array\[..., :3\]"),
        (np.zeros((2, 40, 50, 3), np.uint8), ValueError, r"\(H, W\) or \(H, W, 3\), got \(2, 40, 50, 3\)"),
        (np.zeros(9, np.uint8), ValueError, r"got \(9,\)"),
        (np.zeros((0, 9), np.uint8), ValueError, "must not be empty"),
        (np.full((9, 9), np.nan), ValueError, "finite"),
        (np.full((9, 9), 1e300), ValueError, "81 values that are NaN or infinite"),
        (np.zeros((9, 9), complex), TypeError, "got complex128"),
        ("cells.png", TypeError, "got <U9"),
        (None, TypeError, "got object"),
    ],
)
def test_what_is_no_picture_is_refused(model, array, error, sentence):
    with pytest.raises(error, match=sentence):
        segment(array, model)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"threshold": 50}, "between 0 and 1, got 50"),
        ({"min_area": -1}, "0 or more, got -1"),
        ({"diameter": 0.01}, "diameters from .* got 0.01"),
        ({"diameter": "none"}, "a number, 'auto' or None, got 'none'"),
    ],
)
def test_options_out_of_range_are_refused(model, grey, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        segment(grey, model, **options)


def test_a_model_is_loaded_once_and_again_when_it_was_trained_anew(grey, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(arrays, "load_bundle", lambda folder: loaded.append(folder) or load_bundle(folder))
    monkeypatch.chdir(tmp_path)
    write_tiny_bundle(tmp_path / "model")
    for model in (tmp_path / "model", "model", Path("model")):
        segment(grey, model)
    assert len(loaded) == 1
    (tmp_path / "model").rename(tmp_path / "earlier")
    write_tiny_bundle(tmp_path / "model", min_area=10_000)
    assert segment(grey, "model").max() == 0
    assert len(loaded) == 2


def test_a_model_that_is_missing_is_named(grey, tmp_path):
    with pytest.raises(BundleError, match="no model folder .*absent"):
        segment(grey, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="bundle.json missing"):
        segment(grey, tmp_path / "empty")


def test_the_released_model_is_the_default(model, grey, monkeypatch):
    monkeypatch.setattr(arrays, "released_model", lambda: model)
    np.testing.assert_array_equal(segment(grey), segment(grey, model))


def test_threads_may_call_at_the_same_time(model, grey):
    pictures = [np.roll(grey, shift, axis=1) for shift in range(12)]
    expected = [segment(picture, model) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for labels, one in zip(pool.map(lambda picture: segment(picture, model), pictures), expected, strict=True):
            np.testing.assert_array_equal(labels, one)


def test_neither_keras_nor_what_only_training_takes_is_imported(model):
    blocked = ["tensorflow", "keras", "albumentations", "matplotlib", "skimage", "pandas", "pooch", "PIL"]
    code = (
        f"import sys; sys.modules |= dict.fromkeys({blocked})\n"
        "import numpy as np\n"
        "from segmentation import segment\n"
        f"labels = segment(np.eye(40, dtype=np.uint8) * 200, {str(model)!r})\n"
        "assert labels.shape == (40, 40)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_scores_come_with_the_nuclei_and_drop_them(tmp_path, grey):
    write_tiny_bundle(tmp_path / "trusted", trust=TRUST)
    labels, scores = segment(grey, tmp_path / "trusted", scores=True)
    assert scores.shape == (labels.max(),) and len(scores) >= 2
    np.testing.assert_array_equal(segment(grey, tmp_path / "trusted"), labels)
    kept, better = segment(grey, tmp_path / "trusted", scores=True, min_score=float(scores.max()))
    best = 1 + np.flatnonzero(scores == scores.max())
    np.testing.assert_array_equal(kept > 0, np.isin(labels, best))
    assert better.tolist() == [scores.max()] * len(best)


def test_a_model_without_scores_says_so(model, grey):
    for options in ({"scores": True}, {"min_score": 0.5}):
        with pytest.raises(BundleError, match="gives no scores.*calibrate"):
            segment(grey, model, **options)
    with pytest.raises(ValueError, match="min_score must be between 0 and 1, got 2"):
        segment(grey, model, min_score=2)

from dataclasses import replace

import numpy as np
import pytest

from segmentation.data.images import GREY, RGB, Image
from segmentation.data.large import as_large
from segmentation.data.normalisation import Normalisation
from segmentation.large.predict import predict_large
from segmentation.prediction.appearance import look_at
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.views import AS_IT_IS, SAMPLE, View, ViewEngine, grey_views, sample_of, windows
from tests.prediction.tiny_model import write_tiny_bundle
from tests.prediction.trusting import TRUST
from tests.targets.label_maps import draw_disks

# By these coefficients, a picture of small nuclei promises more than one in which all is one nucleus.
SMALL_IS_GOOD = {
    "nucleus": {"bias": 4.0, "weights": {"size": -1.0}},
    "dice": {"bias": 0.0, "weights": {"score": 1.0}},
    "ap50": {"bias": 0.0, "weights": {"score": 1.0}},
}
PINK, BLUE = (230, 130, 190), (60, 50, 150)


class Brightness:
    """Gives the mean of the channels, four times."""

    name, precision, version, streams, batch_pixels = "brightness", "f32", "1", 1, 256 * 256

    def __call__(self, tiles):
        return np.repeat(tiles.mean(axis=-1, keepdims=True), 4, axis=-1)


@pytest.fixture
def bundle(tmp_path):
    """A model for which what is bright is a nucleus, and which was trained on a stain like that of `lilac`."""
    stretch = Normalisation()
    stain = look_at(stretch.apply(lilac(), stretch.limits(lilac()))).stain
    known = TRUST["training_images"] | {"sharpness": {"stained": [0.01, 3.0]}, "stains": [stain]}
    return replace(write_tiny_bundle(tmp_path / "model"), trust=SMALL_IS_GOOD | {"training_images": known})


def nuclei(shape=(160, 200)):
    return draw_disks(shape, (40, 40, 8), (50, 120, 10), (110, 60, 9), (120, 150, 8))


def stained(tissue, dye, labels):
    return np.where(labels[..., None] > 0, dye, tissue).astype(np.uint8)


def lilac():
    return stained((200, 180, 230), (90, 40, 130), nuclei())


def test_a_view_shows_the_picture_a_channel_of_it_inverted_and_stretched_or_both():
    tiles = np.random.default_rng(0).random((2, 8, 6, 3)).astype(np.float32)
    (seen,) = AS_IT_IS(tiles)
    assert seen is tiles
    (seen,) = View(False, "blue", 0.2, 0.7)(tiles)
    for channel in range(3):
        np.testing.assert_allclose(seen[..., channel], np.interp(1 - tiles[..., 2], [0.2, 0.7], [0, 1]), atol=1e-6)
    first, second = View(True, "red", 0.0, 1.0)(tiles)
    assert first is tiles
    np.testing.assert_allclose(second[..., 1], 1 - tiles[..., 0], atol=1e-6)
    assert [View(False, "red").name, View(True, "red").name, AS_IT_IS.name] == [
        "red inverted",
        "as it is and red inverted",
        "as it is",
    ]


def test_the_engine_averages_what_the_network_gives_for_both():
    tiles = np.random.default_rng(1).random((1, 8, 6, 3)).astype(np.float32)
    both = ViewEngine(Brightness(), View(True, "red"))(tiles)
    np.testing.assert_allclose(both[..., 2], (tiles.mean(axis=-1) + 1 - tiles[..., 0]) / 2, atol=1e-6)


def test_views_of_a_channel_are_stretched_between_its_percentiles():
    sample = np.random.default_rng(2).random((50, 60, 3)).astype(np.float32)
    red, blue = grey_views(sample)
    assert (red.as_it_is, red.channel, blue.channel) == (False, "red", "blue")
    assert (red.low, red.high) == tuple(np.percentile(1 - sample[..., 0], [1, 99.9]))
    assert (blue.low, blue.high) == tuple(np.percentile(1 - sample[..., 2], [1, 99.9]))


def test_a_channel_of_one_value_is_seen_as_black():
    sample = np.full((20, 20, 3), 0.5, np.float32)
    for view in grey_views(sample):
        assert not view(sample[None])[0].any()


@pytest.mark.parametrize(
    ("shape", "count"), [((10, 2000), 3), ((3000, 3000), 9), ((SAMPLE, SAMPLE), 1), ((90_000, 5_000), 45)]
)
def test_windows_are_spread_over_the_picture(shape, count):
    found = list(windows(shape))
    assert len(found) == count
    for axis in (0, 1):
        spans = [window[axis] for window in found]
        assert min(span.start for span in spans) == 0
        assert max(min(span.stop, shape[axis]) for span in spans) == shape[axis]


def test_the_sample_is_the_part_that_differs_most_from_the_background():
    image = np.zeros((3000, 1500, 3), np.float32)
    image[2500:2600, 1200:1300] = 1
    np.testing.assert_array_equal(sample_of(image), image[3000 - SAMPLE :, 1500 - SAMPLE :])


def test_a_new_stain_is_seen_in_the_view_that_promises_most(bundle):
    predictor, labels = open_predictor(bundle), nuclei()
    found = predictor.find(Image(stained(PINK, BLUE, labels), RGB, None))
    assert found.verdict.view == "red inverted"
    assert ((found.labels > 0) == (labels > 0)).mean() > 0.99
    # The picture of the inverted red channel alone gives the same nuclei.
    red = np.where(labels > 0, 255 - BLUE[0], 255 - PINK[0]).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(found.labels, open_predictor(bundle)(Image(red, GREY, None)))


def test_known_stains_grey_pictures_and_models_that_cannot_judge_them_are_seen_as_they_are(bundle):
    labels = nuclei()
    pink, grey = stained(PINK, BLUE, labels), np.where(labels, 200, 20).astype(np.uint8)[..., None]
    predictor = open_predictor(bundle)
    for image in (Image(lilac(), RGB, None), Image(grey, GREY, None)):
        assert predictor.find(image).verdict.view == "as it is"
    known = bundle.trust["training_images"] | {"sharpness": {"fluorescence": [0.01, 3.0]}}
    unable = replace(bundle, trust=bundle.trust | {"training_images": known})
    assert open_predictor(unable).find(Image(pink, RGB, None)).verdict.view == "as it is"
    assert open_predictor(replace(bundle, trust={})).find(Image(pink, RGB, None)).verdict is None


def test_another_view_must_promise_enough(bundle):
    indifferent = bundle.trust | {"ap50": {"bias": 0.0, "weights": {"score": 0.0}}}
    predictor = open_predictor(replace(bundle, trust=indifferent))
    assert predictor.find(Image(stained(PINK, BLUE, nuclei()), RGB, None)).verdict.view == "as it is"


def test_a_picture_done_by_blocks_is_seen_in_the_view_of_the_whole(bundle, tmp_path):
    labels = np.tile(nuclei(), (8, 7))  # larger than a sample
    pixels = stained(PINK, BLUE, labels)
    predictor = open_predictor(bundle)
    whole = predictor.find(Image(pixels, RGB, None))
    large = as_large("picture", Image(pixels, RGB, None))
    prediction = predict_large("picture", large, "0", tmp_path / "blocks", predictor)
    assert prediction.verdict.view == whole.verdict.view == "red inverted"
    np.testing.assert_array_equal(np.concatenate(list(prediction.bands())) > 0, whole.labels > 0)
    assert prediction.nuclei == whole.labels.max()

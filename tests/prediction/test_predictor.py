from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import ndimage

from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import GREY, Image
from segmentation.data.normalisation import Normalisation
from segmentation.prediction import opening
from segmentation.prediction import predictor as module
from segmentation.prediction.engines import StoppableEngine, Stopped
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.scale import DiameterError
from segmentation.targets.encodings import ENCODINGS
from tests.prediction.tiny_model import write_tiny_bundle
from tests.targets.label_maps import draw_disks, overlaps

TARGET = ENCODINGS["centre_offsets"]
KNOWN = 20.0


class Seeing:
    """A network that sees the nuclei as they are, if they have about the size that it knows, and else mistakes their
    size, as real ones do."""

    name, precision, version, streams, batch_pixels = "seeing", "f32", "1", 1, 8 * 256 * 256

    def __init__(self):
        self.shapes = []

    def __call__(self, tiles):
        self.shapes.append(tiles.shape)
        return np.stack([self._see(tile[..., 0]) for tile in tiles])

    def _see(self, grey):
        channels = TARGET.encode(ndimage.label(grey > 0.5)[0])
        radii = channels[..., 3][channels[..., 0] > 0]
        channels[..., 3][channels[..., 0] > 0] = radii.clip(1, np.log2(30))
        return channels


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "model", diameter=KNOWN, min_area=10)


@pytest.fixture
def engine(monkeypatch):
    engine = Seeing()
    monkeypatch.setattr(opening, "open_engine", lambda bundle: engine)
    return engine


def picture(diameter, shape=(320, 330), count=4):
    """Disks that do not touch, and their truth."""
    places = [(0.25, 0.25), (0.25, 0.75), (0.75, 0.3), (0.7, 0.75)][:count]
    truth = draw_disks(shape, *[(round(r * shape[0]), round(c * shape[1]), diameter / 2) for r, c in places])
    return Image(np.where(truth, 200, 10).astype(np.uint8)[..., None], GREY, None), truth


def assert_same_nuclei(truth, found, iou=0.9):
    assert found.shape == truth.shape and found.dtype == np.int32
    assert found.max() == truth.max()
    assert overlaps(truth, found).max(axis=1).min() > iou


@pytest.mark.parametrize("diameter", [14.0, 20.0, 30.0])
def test_nuclei_of_about_the_known_size_are_predicted_as_they_are_in_one_pass(bundle, engine, diameter):
    image, truth = picture(diameter)
    auto = open_predictor(bundle)
    output = auto.predict_at_best([auto.prepare(image)])[0]
    assert output.predictor.scale == 1 and len(engine.shapes) == 1
    assert output.diameter == pytest.approx(diameter, rel=0.05)
    np.testing.assert_array_equal(output.label_map(), open_predictor(bundle, diameter=None)(image))
    assert_same_nuclei(truth, output.label_map(), iou=0.99)


@pytest.mark.parametrize("diameter", [8.0, 60.0, 140.0])
def test_others_are_seen_at_a_scale_that_the_network_knows(bundle, engine, diameter):
    image, truth = picture(diameter)
    auto = open_predictor(bundle)
    output = auto.predict_at_best([auto.prepare(image)])[0]
    assert KNOWN / 2 < diameter * output.predictor.scale < 2 * KNOWN
    assert 1 < len(engine.shapes) <= 4
    assert output.diameter == pytest.approx(diameter, rel=0.15)
    assert output.channels.shape == (*truth.shape, 4)
    assert_same_nuclei(truth, output.label_map(), iou=0.8)
    np.testing.assert_array_equal(auto(image), output.label_map())


@pytest.mark.parametrize("diameter", [8.0, 20.0, 60.0, 140.0])
def test_a_diameter_that_is_given_is_taken_at_its_word(bundle, engine, diameter):
    image, truth = picture(diameter)
    given = open_predictor(bundle, diameter=diameter)
    assert float(given.scale) == pytest.approx(KNOWN / diameter, rel=0.06)
    output = given.predict_at_best([given.prepare(image)])[0]
    assert output.predictor is given and output.diameter is None and len(engine.shapes) == 1
    assert_same_nuclei(truth, output.label_map(), iou=0.8)


def test_none_leaves_every_image_as_it_is(bundle, engine):
    image, _ = picture(140.0)
    fixed = open_predictor(bundle, diameter=None)
    assert fixed.predict_at_best([fixed.prepare(image)])[0].predictor is fixed
    assert engine.shapes == [(1, 320, 330, 3)]


def test_each_image_of_a_batch_gets_its_own_scale(bundle, engine):
    pictures = [picture(20.0), picture(100.0), picture(20.0, count=0)]
    auto = open_predictor(bundle)
    outputs = auto.predict_at_best([auto.prepare(image) for image, _ in pictures])
    assert engine.shapes[0] == (3, 320, 330, 3)
    assert [output.predictor.scale == 1 for output in outputs] == [True, False, True]
    assert outputs[2].diameter is None and not outputs[2].label_map().any()
    for output, (image, truth) in zip(outputs, pictures, strict=True):
        np.testing.assert_array_equal(output.label_map(), auto(image))
        assert output.label_map().max() == truth.max()


def test_an_image_of_nothing_but_noise_ends(bundle, monkeypatch):
    """Whatever the network says of the size, and even if it says something else each time."""

    class Fickle(Seeing):
        def _see(self, grey):
            channels = np.ones((*grey.shape, 4), np.float32)
            channels[..., 3] = [8, -3][len(self.shapes) % 2]
            return channels

    engine = Fickle()
    monkeypatch.setattr(opening, "open_engine", lambda bundle: engine)
    auto = open_predictor(bundle)
    image, truth = picture(20.0, shape=(40, 50))
    output = auto.predict_at_best([auto.prepare(image)])[0]
    assert output.channels.shape == (40, 50, 4) and len(engine.shapes) == 3


def test_the_contrast_is_that_of_the_whole_image_as_it_came(bundle, engine, monkeypatch):
    """The limits are measured before the picture is resized, which would level its extremes."""
    seen = []
    limits = Normalisation.limits

    def measured(self, pixels):
        seen.append(pixels.shape)
        return limits(self, pixels)

    monkeypatch.setattr(Normalisation, "limits", measured)
    image, _ = picture(140.0)
    open_predictor(bundle)(image)
    open_predictor(bundle, diameter=140.0)(image)
    assert seen == [(320, 330, 1)] * 2


def test_the_models_least_area_is_that_of_the_network_and_a_given_one_that_of_the_image(bundle, engine):
    image, truth = picture(140.0, count=1)
    image.pixels[10:30, 10:30] = 200  # 400 pixels; the model's 10 are 490 where nuclei are seven times as large
    assert open_predictor(bundle, diameter=None)(image).max() == 2
    assert open_predictor(bundle, diameter=140.0)(image).max() == 1
    assert open_predictor(bundle, diameter=140.0, min_area=200)(image).max() == 2
    assert open_predictor(bundle, diameter=140.0, min_area=600)(image).max() == 1


def test_a_pixel_size_says_where_to_begin(bundle, engine):
    size = PixelSize(0.1, 0.1)  # 10 micrometres are 100 pixels
    begun = open_predictor(bundle)
    image, truth = picture(100.0)
    assert_same_nuclei(truth, begun(replace(image, pixel_size_um=size)), iou=0.8)
    assert len(engine.shapes) == 1
    # One for all images counts more than what their files say.
    stated = replace(image, pixel_size_um=PixelSize(1, 1))
    assert_same_nuclei(truth, open_predictor(bundle, pixel_size_um=0.1)(stated), iou=0.8)
    assert len(engine.shapes) == 2
    # A file does not enlarge for the first pass: 1 micrometre is what programs write where nothing is known.
    small, _ = picture(20.0)
    begun(replace(small, pixel_size_um=PixelSize(1, 1)))
    assert len(engine.shapes) == 3 and engine.shapes[-1] == (1, 320, 330, 3)
    # Nor does it shrink for a size that is most likely a mistake.
    assert_same_nuclei(truth, begun(replace(image, pixel_size_um=PixelSize(0.01, 0.01))), iou=0.8)
    assert len(engine.shapes) == 4 and engine.shapes[-1] == (1, 64, 66, 3)
    # Where the nuclei are no common ones, the search goes on. Each of a batch begins at its own scale.
    image, truth = picture(20.0)
    outputs = begun.predict_at_best([begun.prepare(image)] * 3, [size, None, size])
    assert [output.predictor.scale for output in outputs] == [1, 1, 1] and len(engine.shapes) == 4 + 4 + 1
    output = outputs[0]
    np.testing.assert_array_equal(output.label_map(), open_predictor(bundle, diameter=None)(image))


def test_a_pixel_size_with_a_slip_of_the_unit_costs_time_but_no_nuclei(bundle, engine, monkeypatch):
    see = engine._see
    # What is shrunk so much that nothing is left of it.
    monkeypatch.setattr(engine, "_see", lambda grey: see(grey) if grey.shape[0] > 50 else np.zeros((*grey.shape, 4)))
    image, truth = picture(20.0)
    found = [open_predictor(bundle, pixel_size_um=size)(image) for size in (0.001, 0.25, 0.5, 500.0)]
    for labels in found:
        np.testing.assert_array_equal(labels, found[2])
    assert_same_nuclei(truth, found[0], iou=0.99)


def test_a_search_that_would_go_round_in_circles_ends(bundle, engine, monkeypatch):
    """As it is, the picture seems to have nuclei of 60 pixels; shrunk for those, nuclei of 20."""
    see = engine._see

    def undecided(grey):
        channels = see(grey)
        channels[..., 3] = np.log2(30.0 if grey.shape[0] >= 320 else 10.0 * grey.shape[0] / 320)
        return channels

    monkeypatch.setattr(engine, "_see", undecided)
    image, _ = picture(20.0)
    auto = open_predictor(bundle)
    output = auto.predict_at_best([auto.prepare(image)])[0]
    assert len(engine.shapes) == 2 and output.predictor.scale == Fraction(1, 3)


def test_tta_gives_the_same_where_the_network_does_not_mind_how_a_picture_lies(bundle, engine):
    image, truth = picture(21.0, shape=(64, 80))
    once, averaged = (
        open_predictor(bundle, tta=tta).predict_at_best([open_predictor(bundle).prepare(image)])[0] for tta in (0, 1)
    )
    np.testing.assert_allclose(averaged.channels, once.channels, atol=1e-5)
    np.testing.assert_array_equal(averaged.label_map(), once.label_map())
    assert len(engine.shapes) == 9


def test_with_tta_a_stop_is_noticed_between_two_of_the_eight(bundle, engine, monkeypatch):
    see = engine._see

    def stop_at_the_third(grey):
        if len(engine.shapes) == 3:
            stoppable.stop()
        return see(grey)

    monkeypatch.setattr(engine, "_see", stop_at_the_third)
    stoppable = StoppableEngine(engine)
    predictor = open_predictor(bundle, tta=True).with_engine(stoppable)
    image, _ = picture(21.0, shape=(64, 80))
    with pytest.raises(Stopped):
        predictor(image)
    assert len(engine.shapes) == 3


def test_all_that_decides_is_in_the_settings(bundle, engine):
    ways = [{}, {"diameter": None}, {"diameter": 30.0}, {"tta": True}, {"pixel_size_um": 0.5}, {"min_area": 7}]
    settings = [open_predictor(bundle, **way).settings for way in ways]
    assert all(one != other for i, one in enumerate(settings) for other in settings[:i])
    assert settings[0] == open_predictor(bundle, diameter="auto", tta=False).settings


@pytest.mark.parametrize("diameter", [4.9, 321.0, 1e9])
def test_a_diameter_out_of_reach_is_refused(bundle, engine, diameter):
    with pytest.raises(DiameterError, match=r"takes nuclear diameters from 5\.0 to 320\.0 pixels, got"):
        open_predictor(bundle, diameter=diameter)


def test_a_model_that_knows_no_diameter_says_so(bundle, engine):
    unknowing = replace(bundle, diameter=0.0)
    for diameter in ("auto", 30.0):
        with pytest.raises(DiameterError, match="does not say how large"):
            open_predictor(unknowing, diameter=diameter)
    open_predictor(unknowing, diameter=None)


def test_with_the_real_engine(bundle):
    """Bright is foreground, and all nuclei measure 16 pixels: nothing to be rescaled unless it is asked for."""
    image, truth = picture(60.0)

    def foreground(**options):
        predictor = open_predictor(bundle, **options)
        return predictor.predict_at_best([predictor.prepare(image)])[0].channels[..., 0] > 0.5

    np.testing.assert_array_equal(foreground(), foreground(diameter=None))
    assert np.mean(foreground(diameter=60.0) == (truth > 0)) > 0.95


@pytest.mark.parametrize("scale", [Fraction(4), Fraction(7, 4), Fraction(5, 3)])
def test_enlarged_tile_by_tile_is_as_enlarged_whole(bundle, monkeypatch, scale):
    class Blurring:
        """Sees eight pixels far."""

        name, precision, version, streams, batch_pixels = "blurring", "f32", "1", 1, 8 * 256 * 256

        def __init__(self):
            self.areas = []

        def __call__(self, tiles):
            self.areas.append(tiles.shape[1] * tiles.shape[2])
            blurred = ndimage.uniform_filter(tiles.mean(axis=-1), (0, 17, 17), mode="constant")
            return np.stack([blurred, tiles[..., 0], tiles[..., 1], tiles[..., 2]], axis=-1)

    engine = Blurring()
    predictor = replace(open_predictor(bundle, engine, diameter=float(KNOWN / scale)), margin=8)
    image = np.random.default_rng(0).random((203, 331, 3), dtype=np.float32)
    whole = predictor.predict([image])[0]
    assert len(engine.areas) == 1
    monkeypatch.setattr(module, "LARGEST_TILE", 20_000)
    tiled = predictor.predict([image])[0]
    assert len(engine.areas) > 5 and max(engine.areas[1:]) <= 20_000
    assert tiled.shape == whole.shape == (203, 331, 4)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)

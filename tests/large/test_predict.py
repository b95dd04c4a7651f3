"""Pictures done by blocks come out as pictures done whole, with nuclei on every seam, and go on after a kill."""

import threading
import time
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import count

import numpy as np
import pytest
import tifffile

from segmentation.data.images import read_image
from segmentation.data.large import open_large
from segmentation.data.normalisation import Normalisation
from segmentation.large.blocks import plan_blocks
from segmentation.large.predict import predict_large
from segmentation.prediction.predictor import Predictor
from segmentation.targets.encodings import ENCODINGS

pytestmark = pytest.mark.slow

TARGET = ENCODINGS["centre_offsets"]
HALO = 32


class TruthEngine:
    """Knows the truth and finds, by the intensities of a tile, where in the picture it lies."""

    name, precision, version, streams, batch_pixels = "truth", "f32", "1", 1, 8 * 256 * 256

    def with_streams(self, streams):
        return self

    def __init__(self, labels):
        self.channels = TARGET.encode(labels).reshape(labels.size, -1)
        self.tiles = []

    def __call__(self, tiles):
        self.tiles.append(tiles.shape)
        places = np.rint(tiles[..., 0].astype(np.float64) * (len(self.channels) - 1)).astype(int)
        return self.channels[places]


def picture_of_places(shape):
    """(H, W) float32 whose intensities tell the places apart."""
    return np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)


def truth_predictor(labels, min_area=0):
    return Predictor(
        TruthEngine(labels),
        Normalisation(0, 100),
        divisor=16,
        margin=16,
        decode=partial(TARGET.find_nuclei, thresholds={"foreground": 0.5}, min_area=min_area),
        settings={},
    )


def discs(shape, spacing, radius, seed=0):
    """A label map full of discs on a jittered lattice: some lie on every seam and corner, whatever the blocks are."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((shape[0] + 4 * spacing, shape[1] + 4 * spacing), np.int32)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    for row in range(spacing, shape[0] + 3 * spacing, spacing):
        for column in range(spacing, shape[1] + 3 * spacing, spacing):
            y, x = (row, column) + rng.integers(-spacing // 4, spacing // 4 + 1, 2)
            window = labels[y - radius : y + radius + 1, x - radius : x + radius + 1]
            inside = rows**2 + columns**2 < (radius * rng.uniform(0.7, 1)) ** 2
            window[inside & (window == 0)] = labels.max() + 1
    return labels[2 * spacing : 2 * spacing + shape[0], 2 * spacing : 2 * spacing + shape[1]].copy()


def assert_same_up_to_numbers(one, other):
    np.testing.assert_array_equal(one > 0, other > 0)
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    for row in pairs:
        assert len(np.unique(row)) == len(row), "a nucleus of one is divided in the other"


def assert_numbered_without_gaps(labels, count):
    np.testing.assert_array_equal(np.unique(np.append(labels, 0)), np.arange(count + 1))


def small_blocks(side, halo=HALO):
    return lambda shape, divisor, margin, scale: plan_blocks(
        shape, divisor, margin, scale, halo=halo, largest_tile=side * side
    )


def go(file, folder, predictor, plan, **options):
    image = open_large(file, largest_whole=0)
    prediction = predict_large("cells", image, "digest", folder, predictor, plan=plan, **options)
    return prediction, np.concatenate(list(prediction.bands(100)))


@pytest.mark.parametrize("shape", [(500, 500), (517, 403), (130, 700), (90, 90)])
@pytest.mark.parametrize("side", [176, 208])
@pytest.mark.parametrize("radius", [6, 13])
def test_by_blocks_as_whole(tmp_path, shape, side, radius):
    truth = discs(shape, int(2.2 * radius), radius)
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(shape), tile=(64, 64))
    predictor = truth_predictor(truth, min_area=5)
    prediction, labels = go(tmp_path / "cells.tif", tmp_path / "blocks", predictor, small_blocks(side), threads=2)
    whole = predictor(read_image(tmp_path / "cells.tif"))
    assert_same_up_to_numbers(labels, whole)
    assert_numbered_without_gaps(labels, prediction.nuclei)
    assert prediction.nuclei == whole.max()
    first_fragments = np.unique(prediction.stitches.nucleus, return_index=True)[1]
    assert (np.diff(first_fragments) > 0).all(), "nuclei are numbered in the order of their first fragments"
    if max(shape) > side:
        assert len(prediction.grid) > 1


def test_a_nucleus_on_every_corner_of_the_blocks(tmp_path):
    shape = 600, 600
    grid = plan_blocks(shape, 16, 16, halo=HALO, largest_tile=176 * 176)
    truth = np.zeros(shape, np.int32)
    for row in grid.rows[1:]:
        for column in grid.columns[1:]:
            y, x = row.core.start, column.core.start
            truth[y - 9 : y + 10, x - 9 : x + 10] = truth.max() + 1
    assert truth.max() >= 9
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(shape), tile=(64, 64))
    prediction, labels = go(tmp_path / "cells.tif", tmp_path / "blocks", truth_predictor(truth), small_blocks(176))
    assert_same_up_to_numbers(labels, truth)
    assert prediction.nuclei == truth.max()


@pytest.mark.parametrize("length", [70, 150, 300])
def test_nuclei_larger_than_the_halo_are_put_together(tmp_path, length):
    truth = np.zeros((420, 420), np.int32)
    truth[40 : 40 + length, 50 : 50 + length] = 1
    truth[380:400, 20:400] = 2
    truth[5:20, 5:20] = 3
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(truth.shape), tile=(64, 64))
    _, labels = go(tmp_path / "cells.tif", tmp_path / "blocks", truth_predictor(truth), small_blocks(176))
    np.testing.assert_array_equal(labels > 0, truth > 0)
    for number in (1, 2, 3):
        found, areas = np.unique(labels[truth == number], return_counts=True)
        assert areas.max() > 0.8 * areas.sum(), f"{number} is in {len(found)} fragments"
        assert not np.isin(found, labels[(truth > 0) & (truth != number)]).any(), "nuclei were joined"


@pytest.mark.parametrize("pixels", [np.zeros((300, 300), np.uint8), np.full((300, 300), 7, np.uint16)])
def test_no_nuclei(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "cells.tif", pixels)
    predictor = truth_predictor(np.zeros(pixels.shape, np.int32))
    prediction, labels = go(tmp_path / "cells.tif", tmp_path / "blocks", predictor, small_blocks(176))
    assert prediction.nuclei == labels.max() == 0


def test_values_that_are_no_numbers_are_background(tmp_path):
    shape = 400, 420
    truth, places = discs(shape, 30, 13), picture_of_places(shape)
    truth[300:] = 0
    places[300:], places[301] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "cells.tif", places, tile=(64, 64))
    predictor = truth_predictor(truth)
    predictor.engine.channels[int(np.median(places[:300]))] = 0
    prediction, labels = go(tmp_path / "cells.tif", tmp_path / "blocks", predictor, small_blocks(176))
    assert prediction.image.gaps == 100 * 420
    assert not labels[301:].any() and prediction.nuclei > 50


def test_everything_is_one_nucleus(tmp_path):
    truth = np.ones((300, 300), np.int32)
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(truth.shape))
    _, labels = go(tmp_path / "cells.tif", tmp_path / "blocks", truth_predictor(truth), small_blocks(176))
    assert (labels > 0).all()
    assert np.bincount(labels.ravel()).max() > 0.9 * labels.size


class BlurEngine:
    """Sees 16 pixels far and cares for the grid of 16: a pooled and enlarged mean, and the pixel itself."""

    name, precision, version, streams, batch_pixels = "blur", "f32", "1", 1, 8 * 256 * 256

    def with_streams(self, streams):
        return self

    def __call__(self, tiles):
        n, height, width, _ = tiles.shape
        assert height % 16 == 0 == width % 16
        pooled = tiles.mean(axis=-1).reshape(n, height // 16, 16, width // 16, 16).mean(axis=(2, 4))
        coarse = pooled.repeat(16, axis=1).repeat(16, axis=2)
        zero = np.zeros_like(coarse)
        return np.stack([tiles.mean(axis=-1), coarse, zero, zero + 3], axis=-1)


@pytest.mark.parametrize("scale", [Fraction(1), Fraction(1, 3), Fraction(3, 5), Fraction(7, 4)])
def test_channels_of_the_windows_are_those_of_the_whole(tmp_path, scale):
    from segmentation.prediction.scale import Rescaling

    shape = 1400, 1211
    pixels = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "cells.tif", pixels, tile=(64, 64))
    seen = []

    def decode(channels, cut):
        seen.append(channels)
        return np.zeros(channels.shape[:2], np.int32)

    rescaling = Rescaling(scale, TARGET) if scale != 1 else None
    predictor = Predictor(BlurEngine(), Normalisation(), 16, 16, decode, {}, rescaling)
    image = read_image(tmp_path / "cells.tif")
    whole = predictor.predict([predictor.prepare(image)])[0]
    prediction, _ = go(tmp_path / "cells.tif", tmp_path / "blocks", predictor, small_blocks(160))
    assert len(prediction.grid) == len(seen) > 3
    for block, channels in zip(prediction.grid, seen, strict=True):
        np.testing.assert_allclose(channels, whole[block.rows.window, block.columns.window], atol=2e-3)


def test_the_blocks_cover_the_picture_once():
    for shape in ((1000, 5000), (333, 3333), (4100, 200)):
        for margin in (16, 109):
            grid = plan_blocks(shape, 16, margin, halo=40, largest_tile=400 * 400)
            count = np.zeros(shape, np.uint8)
            yields = np.zeros(shape, np.uint8)
            for block in grid:
                count[block.rows.core, block.columns.core] += 1
                rows, columns = block.rows.tile, block.columns.tile
                yields[rows.valid_start : rows.valid_stop, columns.valid_start : columns.valid_stop] += 1
                assert rows.start % 16 == columns.start % 16 == 0
                for axis, length in zip((block.rows, block.columns), shape, strict=True):
                    assert axis.window.start == max(axis.core.start - 40, 0)
                    assert axis.window.stop == min(axis.core.stop + 40, length)
                    assert axis.tile.valid_start - axis.tile.start >= (margin if axis.tile.start else 0)
                    assert axis.tile.stop - axis.tile.valid_stop >= (margin if axis.tile.stop < length else 0)
            assert (count == 1).all() and (yields == 1).all()


@pytest.mark.parametrize("scale", [Fraction(1), Fraction(1, 3), Fraction(4), Fraction(5, 16)])
@pytest.mark.parametrize("shape", [(1, 1), (64, 3000), (530, 533), (1100, 1203), (5000, 4999)])
def test_tiles_are_never_too_small_for_the_halo(shape, scale):
    grid = plan_blocks(shape, 16, 109, scale, largest_tile=500 * 500)
    for axis in (grid.rows, grid.columns):
        assert len(axis) == 1 or min(i.tile.valid_stop - i.tile.valid_start for i in axis) >= 2 * grid.halo
        assert all(i.tile.start * scale % 16 == 0 for i in axis)


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 4, 9])
def test_an_interrupted_call_goes_on(tmp_path, after):
    truth = discs((600, 600), 30, 12)
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(truth.shape), tile=(64, 64))
    _, expected = go(tmp_path / "cells.tif", tmp_path / "other", truth_predictor(truth), small_blocks(176))

    predictor = truth_predictor(truth)
    engine = predictor.engine
    inner = type(engine).__call__

    class Dying(TruthEngine):
        def __call__(self, tiles):
            if len(self.tiles) == after:
                raise Killed
            return inner(self, tiles)

    engine.__class__ = Dying
    with pytest.raises(Killed):
        go(tmp_path / "cells.tif", tmp_path / "blocks", predictor, small_blocks(176))
    finished = list((tmp_path / "blocks").glob("*-*.npz"))
    assert after - 1 <= len(finished) <= after
    times = {file: file.stat().st_mtime_ns for file in finished}

    predictor = truth_predictor(truth)
    prediction, labels = go(tmp_path / "cells.tif", tmp_path / "blocks", predictor, small_blocks(176))
    np.testing.assert_array_equal(labels, expected)
    assert len(predictor.engine.tiles) == len(prediction.grid) - len(finished), "finished blocks were done again"
    assert times == {file: file.stat().st_mtime_ns for file in times}


class CrowdEngine(TruthEngine):
    """Answers several streams at once, the first of them last."""

    streams = 3

    def __init__(self, labels):
        super().__init__(labels)
        self.begun = count()
        self.all_here = threading.Barrier(self.streams)

    def __call__(self, tiles):
        number = next(self.begun)
        if number < self.streams:
            self.all_here.wait(timeout=60)
        time.sleep(0.05 * (self.streams - number % self.streams))
        return super().__call__(tiles)


def test_several_blocks_at_once_give_what_one_after_another_gives(tmp_path):
    truth = discs((600, 600), 30, 12)
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(truth.shape), tile=(64, 64))
    _, expected = go(tmp_path / "cells.tif", tmp_path / "one", truth_predictor(truth), small_blocks(176))
    predictor = replace(truth_predictor(truth), engine=CrowdEngine(truth))
    prediction, labels = go(tmp_path / "cells.tif", tmp_path / "three", predictor, small_blocks(176), threads=2)
    assert len(prediction.grid) > 2 * CrowdEngine.streams
    np.testing.assert_array_equal(labels, expected)


def test_ctrl_c_waits_for_the_calls_that_have_begun_and_for_no_more(tmp_path):
    truth = discs((600, 600), 30, 12)
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(truth.shape), tile=(64, 64))
    engine = CrowdEngine(truth)

    def looking_eight_times(engine):
        return lambda tiles: [engine(tiles) for _ in range(8)][0]

    calls = []

    def interrupt(done, total):
        calls.append(len(engine.tiles))
        raise KeyboardInterrupt

    predictor = replace(truth_predictor(truth), engine=engine, symmetric=looking_eight_times)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "cells.tif", tmp_path / "blocks", predictor, small_blocks(176), report=interrupt)
    assert len(engine.tiles) <= calls[0] + engine.streams


def test_blocks_of_another_picture_or_other_settings_are_not_used(tmp_path):
    truth = discs((300, 300), 20, 9)
    tifffile.imwrite(tmp_path / "cells.tif", picture_of_places(truth.shape))
    image = open_large(tmp_path / "cells.tif", largest_whole=0)
    for digest, settings in (("a", {}), ("b", {}), ("b", {"threshold": 0.4})):
        predictor = truth_predictor(truth)
        predictor.settings.update(settings)
        predict_large("cells", image, digest, tmp_path / "blocks", predictor, plan=small_blocks(176))
        assert predictor.engine.tiles
    predict_large("cells", image, digest, tmp_path / "blocks", predictor, plan=small_blocks(176))
    n_tiles = len(predictor.engine.tiles)
    predict_large("cells", image, digest, tmp_path / "blocks", predictor, plan=small_blocks(176))
    assert len(predictor.engine.tiles) == n_tiles

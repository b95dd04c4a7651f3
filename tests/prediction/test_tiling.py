import numpy as np
import pytest
from scipy import ndimage

from segmentation.prediction.planning import plan_tiles
from segmentation.prediction.tiling import pad_to_multiple, padded_shape, predict_batch

DIVISOR = 8
# A box of 5, then pools of 8 pixels of which a box of 3 is averaged: 2 + 2 * 8 - 1 pixels.
RADIUS = 2 + 2 * 8


def network(tiles):
    """A filter with zero padding that is equivariant to shifts by DIVISOR pixels, and to no others."""
    assert tiles.dtype == np.float32
    assert tiles.shape[1] % DIVISOR == 0 == tiles.shape[2] % DIVISOR
    outputs = []
    for tile in tiles:
        smooth = ndimage.uniform_filter(tile.mean(axis=-1), 5, mode="constant")
        height, width = smooth.shape
        pooled = smooth.reshape(height // DIVISOR, DIVISOR, width // DIVISOR, DIVISOR).max(axis=(1, 3))
        coarse = ndimage.uniform_filter(pooled, 3, mode="constant").repeat(DIVISOR, 0).repeat(DIVISOR, 1)
        outputs.append(np.stack([smooth, coarse], axis=-1))
    return np.array(outputs, np.float32)


network.streams = 2
network.batch_pixels = 8 * 256 * 256


class Counting:
    streams = 2
    batch_pixels = 8 * 256 * 256

    def __init__(self):
        self.shapes = []

    def __call__(self, tiles):
        self.shapes.append(tiles.shape)
        return network(tiles)


def predict(engine, image, *plan):
    return predict_batch(engine, [image], *plan)[0]


def picture(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", [(100, 100), (57, 203), (204, 64), (128, 128), (301, 299)])
@pytest.mark.parametrize("largest_tile", [64 * 64, 72 * 56, 96 * 128])
def test_tiled_equals_whole(shape, largest_tile):
    image = picture(*shape)
    engine = Counting()
    tiled = predict(engine, image, DIVISOR, RADIUS, largest_tile)
    whole = predict(network, image, DIVISOR, RADIUS)
    assert tiled.shape == (*shape, 2)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    assert len({s[1:] for s in engine.shapes}) == 1, "every shape costs time"
    assert engine.shapes[0][1] * engine.shapes[0][2] <= largest_tile


def test_a_margin_that_is_too_small_shows():
    """The oracle above would notice: the filter does see as far as its radius, and cares for the grid."""
    image = picture(200, 200)
    whole = predict(network, image, DIVISOR, RADIUS)
    tiled = predict(network, image, DIVISOR, 8, 64 * 64)
    assert abs(tiled - whole).max() > 1e-3


def test_an_object_on_every_seam_comes_out_whole():
    rows, columns = plan_tiles((256, 304), DIVISOR, RADIUS, 88 * 88)
    assert len(rows) > 2
    assert len(columns) > 2
    image = np.zeros((256, 304, 3), np.float32)
    seams = [(row.valid_stop, column.valid_stop) for row in rows[:-1] for column in columns[:-1]]
    for row, column in seams:
        image[row - 5 : row + 5, column - 5 : column + 5] = 1
    tiled = predict(network, image, DIVISOR, RADIUS, 88 * 88)
    whole = predict(network, image, DIVISOR, RADIUS)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    labels, count = ndimage.label(tiled[..., 0] > 0.5)
    assert count == len(seams)
    assert set(ndimage.sum_labels(labels > 0, labels, range(1, count + 1))) == {np.count_nonzero(labels) / count}


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 5), (8, 9), (16, 8)])
def test_padding_reflects_however_small_the_image(shape):
    image = picture(*shape)
    padded = pad_to_multiple(image, 16)
    assert padded.shape[:2] == padded_shape(*shape, 16)
    np.testing.assert_array_equal(padded[: shape[0], : shape[1]], image)
    if 1 < shape[0] < 16:
        np.testing.assert_array_equal(padded[shape[0] : shape[0] + 1], padded[shape[0] - 2 : shape[0] - 1])
    assert predict(network, image, DIVISOR, RADIUS).shape == (*shape, 2)


def test_a_batch_is_predicted_at_once_and_gives_what_each_image_gives():
    images = [picture(60, 62, seed) for seed in range(3)] + [picture(64, 57, 9)]
    engine = Counting()
    outputs = predict_batch(engine, images, DIVISOR, RADIUS)
    assert engine.shapes == [(4, 64, 64, 3)]
    for image, output in zip(images, outputs, strict=True):
        np.testing.assert_array_equal(output, predict(network, image, DIVISOR, RADIUS))


def test_images_of_several_shapes_are_no_batch():
    with pytest.raises(ValueError, match="one padded shape"):
        predict_batch(network, [picture(60, 62), picture(60, 65)], DIVISOR, RADIUS)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 1), (5, 5, 4)])
def test_what_is_no_rgb_image_is_refused(shape):
    with pytest.raises(ValueError, match="image must be"):
        predict(network, np.zeros(shape, np.float32), DIVISOR, RADIUS)

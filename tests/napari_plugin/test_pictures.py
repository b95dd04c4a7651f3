import dask.array
import numpy as np
import pytest

from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import ImageError
from segmentation.napari_plugin.pictures import LayerError, LayerPicture, find_channels


@pytest.mark.parametrize(
    ("shape", "rgb", "labels", "expected"),
    [
        ((5, 7), False, ("axis -2", "axis -1"), None),
        ((1, 1, 5, 7), False, "tzyx", None),
        ((1, 5, 7, 4), True, "tyx", None),
        ((10, 5, 7), False, ("axis -3", "axis -2", "axis -1"), 0),
        ((1, 40, 1, 5, 7), False, ("t", "Channel", "z", "y", "x"), 1),
    ],
)
def test_channels_are_found(shape, rgb, labels, expected):
    assert find_channels("cells", shape, rgb, labels) == expected


@pytest.mark.parametrize(
    ("shape", "rgb", "labels", "sentence"),
    [
        ((11, 5, 7), False, ("axis -3", "axis -2", "axis -1"), "cells is a stack (shape 11 x 5 x 7)"),
        ((3, 5, 7), False, "zyx", "cells is a stack (shape 3 x 5 x 7)"),
        ((2, 5, 7, 3), True, "tyx", "cells is a stack (shape 2 x 5 x 7 x 3)"),
        ((2, 3, 5, 7), False, "czyx", "cells is a stack (shape 2 x 3 x 5 x 7)"),
        ((0, 7), False, "yx", "cells is empty (shape (0, 7))"),
    ],
)
def test_other_layers_are_named_in_a_sentence(shape, rgb, labels, sentence):
    with pytest.raises(LayerError) as refused:
        find_channels("cells", shape, rgb, labels)
    assert str(refused.value).startswith(sentence)


def test_a_picture_is_read_as_that_of_a_file():
    planes = np.random.default_rng(0).integers(0, 4000, (3, 6, 8)).astype(np.uint16)
    image = LayerPicture(
        "cells", dask.array.from_array(planes), channel=1, pixel_size_um=PixelSize(0.5, 0.5)
    ).read_whole()
    np.testing.assert_array_equal(image.pixels[..., 0], planes[1])
    np.testing.assert_array_equal(image.measured, np.moveaxis(planes, 0, -1))
    assert (image.measured_names, image.pixel_size_um) == (("channel 1", "grey", "channel 3"), (0.5, 0.5))
    with_more_axes = LayerPicture("cells", planes[None, :, None], channel=1, axis=1).read_whole()
    np.testing.assert_array_equal(with_more_axes.measured, image.measured)
    alpha = np.random.default_rng(0).integers(0, 255, (6, 8, 4), np.uint8)
    np.testing.assert_array_equal(LayerPicture("cells", alpha[None], rgb=True).read_whole().pixels, alpha[..., :3])


def test_a_picture_that_cannot_be_read_is_named_in_a_sentence():
    def broken(block):
        raise RuntimeError("bad chunk\nat 0.0")

    data = dask.array.zeros((6, 8)).map_blocks(broken, dtype=np.uint8, meta=np.zeros((0, 0), np.uint8))
    for array, sentence in (
        (data, r"cells cannot be read \(bad chunk at 0.0\), where an image was expected"),
        (np.zeros((6, 8), complex), "cells holds complex128 values, where integers or real numbers were expected"),
    ):
        with pytest.raises(ImageError, match=sentence):
            LayerPicture("cells", array).read_whole()

import dask.array
import numpy as np
import pytest

from segmentation.data.images import ImageError
from segmentation.napari_plugin.pictures import LayerError, LayerPicture, count_channels


@pytest.mark.parametrize(
    ("shape", "rgb", "first_axis", "expected"),
    [
        ((5, 7), False, "axis -2", 0),
        ((5, 7, 4), True, "axis -2", 0),
        ((10, 5, 7), False, "axis -3", 10),
        ((40, 5, 7), False, "Channel", 40),
    ],
)
def test_channels_are_counted(shape, rgb, first_axis, expected):
    assert count_channels("cells", shape, rgb, first_axis) == expected


@pytest.mark.parametrize(
    ("shape", "rgb", "first_axis", "sentence"),
    [
        ((11, 5, 7), False, "axis -3", "cells is a stack (shape 11 x 5 x 7)"),
        ((3, 5, 7), False, "z", "cells is a stack (shape 3 x 5 x 7)"),
        ((2, 5, 7, 3), True, "t", "cells is a stack (shape 2 x 5 x 7 x 3)"),
        ((2, 3, 5, 7), False, "c", "cells is a stack (shape 2 x 3 x 5 x 7)"),
        ((0, 7), False, "", "cells is empty (shape (0, 7))"),
    ],
)
def test_other_layers_are_named_in_a_sentence(shape, rgb, first_axis, sentence):
    with pytest.raises(LayerError) as refused:
        count_channels("cells", shape, rgb, first_axis)
    assert str(refused.value).startswith(sentence)


def test_a_picture_is_read_as_that_of_a_file():
    planes = np.random.default_rng(0).integers(0, 4000, (3, 6, 8)).astype(np.uint16)
    image = LayerPicture("cells", dask.array.from_array(planes), channel=1, pixel_size_um=0.5).read_whole()
    np.testing.assert_array_equal(image.pixels[..., 0], planes[1])
    np.testing.assert_array_equal(image.measured, np.moveaxis(planes, 0, -1))
    assert (image.measured_names, image.pixel_size_um) == (("channel 1", "grey", "channel 3"), 0.5)
    alpha = np.random.default_rng(0).integers(0, 255, (6, 8, 4), np.uint8)
    np.testing.assert_array_equal(LayerPicture("cells", alpha, rgb=True).read_whole().pixels, alpha[..., :3])


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

"""Slides, rebuilt in the layouts of scanners with tifffile."""

import numpy as np
import pytest
import tifffile

from segmentation.data.images import ImageError, read_image

APERIO = "Aperio Image Library v11.2.1\r\n960x768 (240x240) JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990"


@pytest.fixture
def slide():
    return np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)


def write(file, slide, sides, **options):
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(slide, tile=(64, 64), photometric="rgb", metadata=None, **options)
        for step in sides:
            tiff.write(slide[::step, ::step].copy(), photometric="rgb", metadata=None)


def test_micrometres_of_aperio(tmp_path, slide):
    write(tmp_path / "cells.svs", slide, [4, 5, 3], description=APERIO)
    image = read_image(tmp_path / "cells.svs")
    np.testing.assert_array_equal(image.pixels, slide)
    assert image.pixel_size_um == 0.499


def test_the_main_picture_of_a_slide_saved_as_plain_tiff(tmp_path, slide):
    write(tmp_path / "cells.tif", slide, [4, 5, 3])
    np.testing.assert_array_equal(read_image(tmp_path / "cells.tif").pixels, slide)


def test_pictures_of_about_one_size_are_refused(tmp_path, slide):
    with tifffile.TiffWriter(tmp_path / "cells.tif") as tiff:
        tiff.write(slide, tile=(64, 64), photometric="rgb", metadata=None)
        tiff.write(slide[:200], photometric="rgb", metadata=None)
    with pytest.raises(ImageError, match="holds 2 pictures"):
        read_image(tmp_path / "cells.tif")

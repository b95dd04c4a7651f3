"""The channel that is asked for, by name or number, from files of several; and the refusals that list what there is."""

import cv2
import numpy as np
import pytest
import tifffile

from segmentation.data.formats.channels import choose_channel, list_channels, name_channels
from segmentation.data.formats.decoded import DecodeError
from segmentation.data.images import ImageError, read_image
from segmentation.data.label_maps import read_label_map

HINT = "; choose one with --channel NAME or --channel NUMBER"


@pytest.fixture
def channels():
    return np.random.default_rng(0).integers(0, 65536, (3, 40, 50), dtype=np.uint16)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cells.tif"


def test_names_come_before_numbers():
    assert choose_channel("DAPI", ("GFP", "dapi")) == 1
    assert choose_channel("2", ("405", "488")) == 1
    assert choose_channel("405", ("488", "405")) == 1
    assert choose_channel("2", ("2", None)) == 0
    assert choose_channel(" gfp ", ("GFP", None)) == 0


@pytest.mark.parametrize("channel", ["0", "4", "-1", "1.5", "TRITC", ""])
def test_a_channel_that_there_is_not(channel):
    with pytest.raises(DecodeError, match=r"has no channel '.*', where one of 1 \(DAPI\), 2, 3 \(GFP\) was expected"):
        choose_channel(channel, ("DAPI", None, "GFP"))


def test_a_name_that_several_have():
    with pytest.raises(
        DecodeError, match=r"has 2 channels named 'GFP', where one of 1 \(GFP\), 2 \(gfp\) was expected"
    ):
        choose_channel("GFP", ("GFP", "gfp"))
    assert list_channels((None, None)) == "1, 2"


def write_ome(file, channels):
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
    tifffile.imwrite(file, channels, ome=True, photometric="minisblack", metadata=metadata)


def write_imagej(file, channels):
    tifffile.imwrite(file, channels, imagej=True, metadata={"axes": "CYX", "Labels": ["DAPI", "GFP", "Cy5"]})


@pytest.mark.parametrize("write", [write_ome, write_imagej])
def test_named_channels(file, channels, write):
    write(file, channels)
    for index, name in enumerate(("DAPI", "gfp", "Cy5")):
        for channel in (name, str(index + 1)):
            image = read_image(file, channel)
            np.testing.assert_array_equal(image.pixels[..., 0], channels[index])
            assert image.channel_names == ("grey",)
    with pytest.raises(ImageError) as refusal:
        read_image(file)
    assert str(refusal.value) == (
        f"{file} holds 3 channels (axes CYX, shape (3, 40, 50)): 1 (DAPI), 2 (GFP), 3 (Cy5), "
        f"where one plane, grey or RGB, was expected{HINT}"
    )
    with pytest.raises(ImageError, match=r"was expected: save the picture that is wanted as a file of its own$"):
        read_label_map(file)


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("CYX", {"planarconfig": "separate"}),
        ("YXC", {"planarconfig": "contig"}),
        ("CYX", {"metadata": None}),  # pages about which the file says nothing
        ("CYX", {"planarconfig": "separate", "tile": (16, 16)}),
    ],
)
def test_channels_without_names(file, channels, axes, options):
    stored = channels if axes == "CYX" else np.moveaxis(channels, 0, -1)
    tifffile.imwrite(file, stored, photometric="minisblack", **options)
    np.testing.assert_array_equal(read_image(file, "3").pixels[..., 0], channels[2])
    with pytest.raises(ImageError, match=r"has no channel 'DAPI', where one of 1, 2, 3 was expected"):
        read_image(file, "DAPI")


def test_of_many_channels_the_first_are_listed(file):
    tifffile.imwrite(file, np.zeros((2, 2, 60_000), np.uint8), photometric="minisblack", planarconfig="contig")
    listed = ", ".join(map(str, range(1, 21)))
    with pytest.raises(ImageError) as refusal:
        read_image(file, "DAPI")
    assert str(refusal.value) == (f"{file} has no channel 'DAPI', where one of {listed} and 59,980 more was expected")
    assert list_channels((None,) * 20) == listed


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_channels_of_a_colour_picture(tmp_path, suffix):
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = tmp_path / f"cells{suffix}"
    if suffix == ".png":
        cv2.imwrite(str(file), colours[..., ::-1])
    else:
        tifffile.imwrite(file, colours, photometric="rgb")
    for index, name in enumerate(("red", "Green", "blue")):
        for channel in (name, str(index + 1)):
            image = read_image(file, channel)
            np.testing.assert_array_equal(image.pixels[..., 0], colours[..., index])
            assert image.channel_names == ("grey",)
    with pytest.raises(ImageError, match=r"cells\.\w+ has no channel '4', where one of 1 \(red\), 2 \(green\), 3"):
        read_image(file, "4")


def test_a_grey_picture_has_one_channel(tmp_path):
    cv2.imwrite(str(tmp_path / "cells.png"), np.full((4, 5), 7, np.uint8))
    assert read_image(tmp_path / "cells.png", "1").pixels.max() == 7
    with pytest.raises(ImageError, match=r"has no channel 'DAPI', where one of 1 \(grey\) was expected"):
        read_image(tmp_path / "cells.png", "DAPI")


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "ZCYX", "TCYX"])
def test_stacks_are_refused_with_a_channel_too(file, axes):
    shape = {"Z": 2, "T": 3, "C": 4, "Y": 20, "X": 30}
    tifffile.imwrite(file, np.zeros([shape[axis] for axis in axes], np.uint8), ome=True, metadata={"axes": axes})
    refused = (
        r"2 planes in Z .*--project max" if "Z" in axes else r"3 time points .*one plane, grey or RGB, was expected$"
    )
    for channel in "1", None:
        with pytest.raises(ImageError, match=refused):
            read_image(file, channel)


def test_each_channel_gets_a_name_of_its_own():
    assert name_channels(("DAPI", None, " GFP "), 0) == ("grey", "channel 2", "GFP")
    assert name_channels(("GFP", "GFP", "grey", "GFP 2"), 1) == ("GFP", "grey", "grey 3", "GFP 2")


@pytest.mark.parametrize("layout", ["ome", "imagej", "planar", "contig"])
def test_all_channels_travel_with_the_chosen_one(file, channels, layout):
    stored = channels if layout != "contig" else np.moveaxis(channels, 0, -1)
    if layout in ("ome", "imagej"):
        (write_ome if layout == "ome" else write_imagej)(file, stored)
        names = ("DAPI", "grey", "Cy5")
    else:
        config = {"planarconfig": "separate" if layout == "planar" else "contig"}
        tifffile.imwrite(file, stored, photometric="minisblack", **config)
        names = ("channel 1", "grey", "channel 3")
    image = read_image(file, "2")
    assert image.measured_names == names
    assert image.measured.dtype == np.uint16
    np.testing.assert_array_equal(image.measured, np.moveaxis(channels, 0, -1))


def test_other_channels_may_hold_what_no_image_has(file):
    channels = np.array([[[1, 2, 3]], [[np.nan, -5, 1e9]]])
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "ratio"]}}
    tifffile.imwrite(file, channels, ome=True, photometric="minisblack", metadata=metadata)
    image = read_image(file, "DAPI")
    assert image.pixels.dtype == np.float32 and image.measured.dtype == np.float64
    np.testing.assert_array_equal(image.measured, np.moveaxis(channels, 0, -1))
    ratio = read_image(file, "ratio")
    assert ratio.pixels[..., 0].tolist() == [[-5, -5, 1e9]] and ratio.gaps == 1


def test_colours_are_measured_when_one_is_chosen(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "cells.png"), colours[..., ::-1])
    image = read_image(tmp_path / "cells.png", "green")
    assert image.measured_names == ("red", "grey", "blue")
    np.testing.assert_array_equal(image.measured, colours)


@pytest.mark.parametrize("channel", [None, "1"])
def test_a_picture_of_one_channel_is_measured_as_it_is_segmented(tmp_path, channel):
    cv2.imwrite(str(tmp_path / "cells.png"), np.full((4, 5), 7, np.uint8))
    image = read_image(tmp_path / "cells.png", channel)
    assert image.measured is image.pixels and image.measured_names == image.channel_names == ("grey",)


def test_only_the_chosen_channel_is_read_of_files_beyond_the_limit(file, channels, monkeypatch):
    monkeypatch.setattr("segmentation.data.formats.tiff.MAX_PIXELS", 2 * 40 * 50)
    write_ome(file, channels)
    image = read_image(file, "GFP")
    np.testing.assert_array_equal(image.measured[..., 0], channels[1])
    assert image.measured is image.pixels and image.measured_names == ("grey",)

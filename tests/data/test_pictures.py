"""Files that hold several pictures: listed, and each read as tifffile or zarr reads its part."""

import shutil

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from segmentation.data.images import ImageError, read_image
from segmentation.data.large import open_large
from segmentation.data.pictures import list_pictures, planes_of
from tests.data.formats.slide_files import write_stk


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def whole(large):
    height, width = large.shape
    return large.read(slice(0, height), slice(0, width))


def write_zarr(folder, array, axes):
    group = zarr.open_group(str(folder), mode="w", zarr_format=2)
    stored = group.create_array("0", shape=array.shape, chunks=array.shape, dtype=array.dtype)
    stored[:] = array
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": [{"name": axis, "type": "space"} for axis in axes], "datasets": [{"path": "0"}]}
    ]


def as_tiff(folder, array, axes):
    tifffile.imwrite(folder / "cells.tif", array, imagej=True, metadata={"axes": axes.upper()})
    return folder / "cells.tif"


def as_one_page(folder, array, axes):
    """As ImageJ writes stacks above 4 GB: the data of all planes follow those of the one page."""
    tifffile.imwrite(folder / "cells.tif", array, imagej=True, truncate=True, metadata={"axes": axes.upper()})
    with tifffile.TiffFile(folder / "cells.tif") as tiff:
        assert len(tiff.pages) == 1
    return folder / "cells.tif"


def as_ome_tiff(folder, array, axes):
    tifffile.imwrite(folder / "cells.ome.tif", array, tile=(16, 16), metadata={"axes": axes.upper()})
    return folder / "cells.ome.tif"


def as_zarr(folder, array, axes):
    write_zarr(folder / "cells.zarr", array, axes)
    return folder / "cells.zarr"


WRITERS = as_tiff, as_one_page, as_ome_tiff, as_zarr
STACKS = {"tzcyx": (3, 4, 2), "zyx": (4,), "tyx": (3,), "tcyx": (3, 2), "zcyx": (4, 2)}


@pytest.mark.parametrize("how", ["max", "mean", "2"])
@pytest.mark.parametrize("axes", STACKS)
@pytest.mark.parametrize("write", WRITERS)
def test_frames_and_projections_of_every_arrangement(tmp_path, rng, write, axes, how):
    array = rng.integers(0, 65_536, (*STACKS[axes], 20, 30)).astype(np.uint16)
    file, channel = write(tmp_path, array, axes), "2" if "c" in axes else None
    pictures = list_pictures(file)
    assert [place for _, place in pictures] == ([(("frame", str(t)),) for t in (1, 2, 3)] if "t" in axes else [()])
    for frame, (path, place) in enumerate(pictures):
        expected = array[frame] if "t" in axes else array
        if "z" in axes:
            expected = {"max": expected.max(0), "mean": expected.mean(0), "2": expected[1]}[how]
        planes = planes_of(place, how)
        large = open_large(path, channel, 0, planes)
        images = [whole(large)] if file.is_dir() else [whole(large), read_image(path, channel, planes).pixels]
        for pixels in images:
            expected_channel = expected[1] if channel else expected
            np.testing.assert_array_equal(pixels[..., 0], expected_channel.astype(np.float32))
            assert pixels.dtype == large.dtype
        if channel:
            measured = large.read_measured(slice(0, 20), slice(0, 30))
            np.testing.assert_array_equal(measured, np.moveaxis(expected, 0, -1).astype(np.float32))


@pytest.mark.parametrize(("per_z", "axis"), [(1, "Z"), (0, "T")])
def test_planes_of_metamorph(tmp_path, rng, per_z, axis):
    planes = rng.integers(0, 65_536, (5, 40, 50)).astype(np.uint16)
    write_stk(tmp_path / "cells.stk", planes, per_z)
    with tifffile.TiffFile(tmp_path / "cells.stk") as tiff:
        assert tiff.series[0].axes == f"{axis}YX" and len(tiff.pages) == 1
        np.testing.assert_array_equal(tiff.asarray(), planes)
    found = [read_image(path, planes=planes_of(place, "max")) for path, place in list_pictures(tmp_path / "cells.stk")]
    np.testing.assert_array_equal([image.pixels[..., 0] for image in found], [planes.max(0)] if per_z else planes)
    assert found[0].pixel_size_um == (0.25, 0.25)
    content = (tmp_path / "cells.stk").read_bytes()
    (tmp_path / "cells.stk").write_bytes(content[:-50])
    path, place = list_pictures(tmp_path / "cells.stk")[-1]
    with pytest.raises(ImageError, match=r"is a truncated TIFF of 20,\d+ bytes, where at least 20,\d+ were expected"):
        read_image(path, planes=planes_of(place, "max"))


def test_frames_in_colour(tmp_path, rng):
    frames = rng.integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "cells.tif", frames, photometric="rgb", metadata={"axes": "TYXS"})
    for frame, (path, place) in enumerate(list_pictures(tmp_path / "cells.tif")):
        np.testing.assert_array_equal(read_image(path, planes=planes_of(place, None)).pixels, frames[frame])


def test_series_by_choice(tmp_path, rng):
    first, second = (rng.integers(0, 256, (20, width), dtype=np.uint8) for width in (30, 40))
    file = tmp_path / "cells.ome.tif"
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(first, metadata={"axes": "YX"})
        tiff.write(second, metadata={"axes": "YX"})
    assert list_pictures(file) == [(file, ())]
    with pytest.raises(ImageError, match="holds 2 pictures .*--series N, or take all with --series all"):
        read_image(file)
    pictures = list_pictures(file, "all")
    assert [place for _, place in pictures] == [(("series", "1"),), (("series", "2"),)]
    for (path, place), expected in zip(pictures, (first, second), strict=True):
        np.testing.assert_array_equal(read_image(path, planes=planes_of(place, None)).pixels[..., 0], expected)
    assert list_pictures(file, "2") == pictures[1:]
    with pytest.raises(ImageError, match="holds 2 series, where a series 3"):
        read_image(file, planes=planes_of(list_pictures(file, "3")[0][1], None))


@pytest.mark.parametrize("content", [None, b"", b"text"], ids=["picture", "empty", "text"])
def test_a_series_of_a_file_that_holds_none(tmp_path, rng, content):
    file = tmp_path / "cells.png"
    cv2.imwrite(str(file), rng.integers(0, 256, (20, 30), dtype=np.uint8))
    if content is not None:
        file.write_bytes(content)
    for series in ("1", "all"):
        assert list_pictures(file, series) == [(file, ())]
    ((path, place),) = list_pictures(file, "3")
    with pytest.raises(ImageError, match=r"cells\.png is no file of several series, where a series 3 was asked for"):
        read_image(path, planes=planes_of(place, None))


def test_series_of_zarr(tmp_path, rng):
    store = tmp_path / "cells.zarr"
    zarr.open_group(str(store), mode="w", zarr_format=2)
    arrays = rng.integers(0, 256, (2, 20, 30), dtype=np.uint8)
    for number, array in enumerate(arrays):
        write_zarr(store / str(number), array, "yx")
    with pytest.raises(ImageError, match="--series N"):
        open_large(store)
    for array, (path, place) in zip(arrays, list_pictures(store, "all"), strict=True):
        np.testing.assert_array_equal(whole(open_large(path, planes=planes_of(place, None)))[..., 0], array)


@pytest.mark.parametrize("write", WRITERS)
def test_stacks_without_a_choice_name_the_option(tmp_path, rng, write):
    file = write(tmp_path, rng.integers(0, 256, (4, 20, 30), dtype=np.uint8), "zyx")
    with pytest.raises(ImageError, match="4 planes in Z.*--project max or mean, or choose one plane with --project N"):
        open_large(file, None, 0)
    with pytest.raises(ImageError, match="4 planes in Z .*where a plane 5"):
        open_large(file, None, 0, planes_of((), "5"))


@pytest.mark.parametrize("path", ["{outside}", "../../../outside.zarr", "link"])
def test_a_plate_that_names_a_folder_outside_is_refused(tmp_path, rng, path):
    write_zarr(tmp_path / "outside.zarr", rng.integers(0, 255, (9, 9), np.uint8), "yx")
    plate = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "B/3"}]}
    named = path.format(outside=tmp_path / "outside.zarr")
    plate.create_group("B/3").attrs["well"] = {"images": [{"path": named}]}
    (tmp_path / "plate.zarr" / "B" / "3" / "link").symlink_to(tmp_path / "outside.zarr")
    assert list_pictures(tmp_path / "plate.zarr") == [(tmp_path / "plate.zarr", ())]
    with pytest.raises(ImageError, match=r"plate\.zarr is a plate of many pictures"):
        open_large(tmp_path / "plate.zarr")


def test_fields_of_a_plate(tmp_path, rng):
    plate = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "B/3"}, {"path": "B/4"}]}
    for well in "34":
        plate.create_group(f"B/{well}").attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
        for field in "01":
            write_zarr(tmp_path / "plate.zarr" / "B" / well / field, np.full((9, 9), int(well + field), np.uint8), "yx")
    pictures = list_pictures(tmp_path / "plate.zarr")
    assert [tuple(value for _, value in place) for _, place in pictures] == [
        ("B", "3", "1"),
        ("B", "3", "2"),
        ("B", "4", "1"),
        ("B", "4", "2"),
    ]
    assert [whole(open_large(path))[0, 0, 0] for path, _ in pictures] == [30, 31, 40, 41]

    shutil.rmtree(tmp_path / "plate.zarr" / "B" / "3")
    pictures = list_pictures(tmp_path / "plate.zarr")
    assert pictures[0] == (tmp_path / "plate.zarr" / "B" / "3", (("row", "B"), ("column", "3")))
    with pytest.raises(ImageError, match=r"3 does not exist"):
        read_image(pictures[0][0])
    assert [whole(open_large(path))[0, 0, 0] for path, _ in pictures[1:]] == [40, 41]


@pytest.mark.parametrize("axes", ["yxc", "xyc", "cxy", "xcy", "cyx"])
def test_zarr_with_axes_in_any_order(tmp_path, rng, axes):
    array = rng.integers(0, 256, (20, 30, 2), dtype=np.uint8)
    write_zarr(tmp_path / "cells.zarr", array.transpose(["yxc".index(axis) for axis in axes]), axes)
    large = open_large(tmp_path / "cells.zarr", "2")
    np.testing.assert_array_equal(whole(large)[..., 0], array[..., 1])
    np.testing.assert_array_equal(large.read_measured(slice(5, 9), slice(3, 99)), array[5:9, 3:])


def test_a_stack_of_one_page_that_is_cut_is_refused(tmp_path, rng):
    file = as_one_page(tmp_path, rng.integers(0, 256, (3, 20, 30), dtype=np.uint8), "zyx")
    with tifffile.TiffFile(file) as tiff:
        end = tiff.pages.first.dataoffsets[0] + 3 * 20 * 30
    file.write_bytes(file.read_bytes()[: end - 1])
    with pytest.raises(ImageError, match="is a truncated TIFF of .* bytes"):
        read_image(file, planes=planes_of((), "max"))


def test_pages_in_colours_are_chosen_or_projected(tmp_path, rng):
    pages = rng.integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    file = tmp_path / "scans.tif"
    with tifffile.TiffWriter(file) as tiff:
        for page in pages:
            tiff.write(page, photometric="rgb", metadata=None)
    with pytest.raises(ImageError, match="holds 3 pages x 3 channels .*choose one plane with --project N"):
        read_image(file)
    for how, expected in (("2", pages[1]), ("max", pages.max(axis=0))):
        np.testing.assert_array_equal(read_image(file, planes=planes_of((), how)).pixels, expected)
        np.testing.assert_array_equal(whole(open_large(file, None, 0, planes_of((), how))), expected)


@pytest.mark.parametrize("metadata", [None, {}])
def test_pages_of_unknown_meaning_are_a_stack_if_it_is_to_be_projected(tmp_path, rng, metadata):
    pages = rng.integers(0, 256, (5, 20, 30), dtype=np.uint8)
    file = tmp_path / "cells.tif"
    tifffile.imwrite(file, pages, photometric="minisblack", metadata=metadata)
    for how, expected in (("2", pages[1]), ("max", pages.max(axis=0)), ("mean", pages.mean(axis=0))):
        planes = planes_of((), how)
        np.testing.assert_allclose(read_image(file, planes=planes).pixels[..., 0], expected, rtol=1e-6)
        np.testing.assert_allclose(whole(open_large(file, None, 0, planes))[..., 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(read_image(file, "3", planes_of((), "max")).pixels[..., 0], pages[2])


def test_metadata_of_more_channels_than_pages_say_so(tmp_path, rng):
    file = as_ome_tiff(tmp_path, rng.integers(0, 256, (2, 20, 30), dtype=np.uint8), "cyx")
    file.write_bytes(file.read_bytes().replace(b'SizeC="2"', b'SizeC="3"'))
    with pytest.raises(ImageError, match="holds 3 channels .*, but not all of their 3 pages"):
        read_image(file, "1")


def test_a_damaged_file_is_one_picture_that_says_what_is_wrong_when_read(tmp_path):
    (tmp_path / "cells.tif").write_bytes(b"II*\0\xff")
    assert list_pictures(tmp_path / "cells.tif") == [(tmp_path / "cells.tif", ())]


def test_each_series_has_its_own_pixel_size(tmp_path):
    file = tmp_path / "cells.ome.tif"
    with tifffile.TiffWriter(file) as tiff:
        for width, size in (30, 0.25), (40, 0.5):
            tiff.write(
                np.zeros((20, width), np.uint8),
                metadata={"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size, "PhysicalSizeXUnit": "µm"},
            )
    sizes = [
        read_image(path, planes=planes_of(place, None)).pixel_size_um for path, place in list_pictures(file, "all")
    ]
    assert sizes == [(0.25, 0.25), (0.5, 0.5)]


def test_a_file_of_a_set_has_the_pixel_size_of_its_own_series(tmp_path):
    names, sizes = ("urn:uuid:1", "urn:uuid:2"), (0.25, 0.5)
    images = "".join(
        f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="uint8" SizeX="30"'
        f' SizeY="20" SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="{size}" PhysicalSizeY="{size}">'
        f'<Channel ID="Channel:{number}:0"/>'
        f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{number}.ome.tif">{name}</UUID></TiffData></Pixels></Image>'
        for number, (name, size) in enumerate(zip(names, sizes, strict=True))
    )
    for number, name in enumerate(names):
        space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
        xml = f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{space}" UUID="{name}">{images}</OME>'
        pixels = np.full((20, 30), number, np.uint8)
        tifffile.imwrite(tmp_path / f"{number}.ome.tif", pixels, description=xml, metadata=None)
    for number, size in enumerate(sizes):
        image = read_image(tmp_path / f"{number}.ome.tif")
        assert image.pixel_size_um == (size, size) and (image.pixels == number).all()

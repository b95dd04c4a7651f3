"""Slides, rebuilt in the layouts of scanners with tifffile."""

import base64
import struct
import tracemalloc

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from segmentation.data.formats.planes import Planes
from segmentation.data.formats.tiff_blocks import TiffBlocks
from segmentation.data.images import ImageError, decode, read_image
from segmentation.data.large import open_large
from tests.data.formats.slide_files import APERIO, SCAN, write_jpeg2000, write_lsm, write_ndpi, write_scn


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
    assert image.pixel_size_um == (0.499, 0.499)


def test_the_main_picture_of_a_slide_saved_as_plain_tiff(tmp_path, slide):
    write(tmp_path / "cells.tif", slide, [4, 5, 3])
    np.testing.assert_array_equal(read_image(tmp_path / "cells.tif").pixels, slide)


def test_pictures_of_about_one_size_are_refused(tmp_path, slide):
    with tifffile.TiffWriter(tmp_path / "cells.tif") as tiff:
        tiff.write(slide, tile=(64, 64), photometric="rgb", metadata=None)
        tiff.write(slide[:200], photometric="rgb", metadata=None)
    with pytest.raises(ImageError, match="holds 2 pictures"):
        read_image(tmp_path / "cells.tif")


# Four squares of 8 pixels, of these colours, in JPEG 2000 with YCbCr of 4:2:2, by the encoder of FFmpeg.
SQUARES = [[(200, 60, 140), (90, 50, 150)], [(230, 220, 230), (40, 160, 80)]]
SQUARES_422 = base64.b64decode(
    "/0//UQAvAAAAAAAQAAAAEAAAAAAAAAAAAAABAAAAAQAAAAAAAAAAAAADBwEBBwIBBwIB/1IADAAAAAEABgICAAH/XAAWIEBISFBISFBISFBISFBI"
    "SFBISFD/ZAARAAFMYXZjNjIuMjguMTAy/5AACgAAAAABDQAB/5PA6CAJx84IBD/PqAgEHwAAAAAAAMfUBT7QKH1AIAifAz8Jw+cCCMfUBAlvx9QL"
    "PtBYPnCAC33dOMcHbeHffwbgPH/H1AUHyAoPnBAELgK2As3H1AcfUBwDoIAIql8DAl8Dx9QRPtCYPnCgGR+3qfIf/UAV/Ju++BUZIkcWBGqUKcPn"
    "Dw+cJB84UAyeIGd+D1oWsPdnDMGjjX/H1A8fUCwBEAkUbGz/D78PHsfpPwx/x9QTH1BMHzhASyBgNMZiO+4iAMrXpf3IUKBjJN1iH8PnER9QNA+Q"
    "GBqWX7BUH0S7JA869hE/Gpinw+cPH1A0ARAX2Kt/U/uPHuBInT4fGpf/2Q=="
)


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_aperio_jpeg2000_in_ycbcr(tmp_path, slide, photometric):
    luma_red_blue = cv2.cvtColor(slide[:64, :128], cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    tiles = [luma_red_blue[:, :64], luma_red_blue[:, 64:]]
    streams = [imagecodecs.jpeg2k_encode(np.ascontiguousarray(tile), level=0, mct=False, codecformat="j2k") for tile in tiles]  # fmt: skip # noqa: E501
    write_jpeg2000(tmp_path / "cells.svs", streams, (64, 128, 3), photometric)
    pixels = read_image(tmp_path / "cells.svs").pixels
    np.testing.assert_allclose(pixels.astype(int), slide[:64, :128], atol=3)
    block = TiffBlocks(tmp_path / "cells.svs").read(slice(10, 40), slice(50, 100))
    np.testing.assert_array_equal(block.pixels, pixels[10:40, 50:100])


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_aperio_jpeg2000_in_ycbcr_with_fewer_colours(tmp_path, photometric):
    write_jpeg2000(tmp_path / "cells.svs", [SQUARES_422], (16, 16, 3), photometric)
    pixels = read_image(tmp_path / "cells.svs").pixels
    np.testing.assert_allclose(pixels.astype(int), np.kron(SQUARES, np.ones((8, 8, 1))), atol=3)


def test_jpeg2000_that_transforms_rgb_itself(tmp_path, slide):
    """Of tifffile with Aperio's number; YCbCr on top of that would be a riddle, which is refused."""
    stream = imagecodecs.jpeg2k_encode(slide[:64, :64].copy(), level=0, codecformat="j2k")
    write_jpeg2000(tmp_path / "cells.svs", [stream], (64, 64, 3))
    np.testing.assert_array_equal(read_image(tmp_path / "cells.svs").pixels, slide[:64, :64])
    write_jpeg2000(tmp_path / "cells.svs", [stream], (64, 64, 3), "ycbcr")
    with pytest.raises(ImageError, match="stores its colours as YCBCR, .* save it as RGB"):
        read_image(tmp_path / "cells.svs")


def smooth(slide):
    return np.ascontiguousarray(cv2.GaussianBlur(slide, (0, 0), 4))


def test_ndpi(tmp_path, slide):
    slide = smooth(slide)
    levels = {20.0: slide, 10.0: slide[::2, ::2].copy(), -1.0: slide[:64, :160].copy(), -2.0: slide[:40, :96].copy()}
    write_ndpi(tmp_path / "cells.ndpi", levels, per_cm=21_990)
    image = read_image(tmp_path / "cells.ndpi")
    np.testing.assert_allclose(image.pixels.astype(int), slide, atol=12)
    assert image.pixel_size_um == pytest.approx((1e4 / 21_990, 1e4 / 21_990))
    block = TiffBlocks(tmp_path / "cells.ndpi").read(slice(10, 200), slice(40, 300))
    np.testing.assert_array_equal(block.pixels, image.pixels[10:200, 40:300])
    (tmp_path / "cells.ndpi").rename(tmp_path / "named.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "named.tif").pixels, image.pixels)


def test_ndpi_takes_no_memory_for_a_header_that_it_lacks(tmp_path, slide):
    file = tmp_path / "cells.ndpi"
    write_ndpi(file, {20.0: smooth(slide)})
    with tifffile.TiffFile(file, is_ndpi=True) as tiff:
        starts = tiff.pages[0].tags[65426].valueoffset
    data = bytearray(file.read_bytes())
    data[starts : starts + 4] = struct.pack("<I", 2**31)
    file.write_bytes(data)
    tracemalloc.start()
    try:
        for read in (read_image, lambda file: open_large(file, largest_whole=0)):
            with pytest.raises(ImageError, match=r"cells\.ndpi "):
                read(file)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_ndpi_whose_stream_announces_too_much(tmp_path, slide):
    write_ndpi(tmp_path / "cells.ndpi", {20.0: smooth(slide)})
    data = bytearray((tmp_path / "cells.ndpi").read_bytes())
    size = data.index(b"\xff\xc0") + 5
    data[size : size + 4] = b"\xfd\xfd\xfd\xfd"
    (tmp_path / "cells.ndpi").write_bytes(data)
    with pytest.raises(ImageError, match="holds a strip or tile of 65,021 x 65,021 pixels"):
        read_image(tmp_path / "cells.ndpi")


def test_plain_tiff_named_ndpi(tmp_path, slide):
    """The last has zeros between the header and its page, so that an offset of 64 bits leads to it, too."""
    for index, options in enumerate([{}, {"tile": (64, 64), "compression": "zlib"}, {"bigtiff": True}, {"byteorder": ">"}]):  # fmt: skip # noqa: E501
        file = tmp_path / f"cells{index}.ndpi"
        tifffile.imwrite(file, slide, photometric="rgb", **options)
        np.testing.assert_array_equal(read_image(file).pixels, slide)
    tags = {256: 9, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 278: 8, 279: 72}
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", code, 4, 1, tags[code]) for code in tags)
    (tmp_path / "zeros.ndpi").write_bytes(struct.pack("<4sI", b"II*\0", 80) + bytes(72) + page + bytes(4))
    np.testing.assert_array_equal(decode(tmp_path / "zeros.ndpi").pixels, np.zeros((8, 9)))


def test_scn(tmp_path, slide):
    """The main picture without the overview of the glass; 160,000 nanometres are 320 pixels of half a micrometre."""
    write_scn(tmp_path / "cells.scn", slide, [SCAN.format(160_000, 1, 2, 128_000)])
    image = read_image(tmp_path / "cells.scn")
    np.testing.assert_array_equal(image.pixels, slide)
    assert image.pixel_size_um == (0.5, 0.5)


def test_channels_of_scn_in_fluorescence(tmp_path):
    planes = np.random.default_rng(0).integers(0, 256, (2, 64, 96), np.uint8)
    xml = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection
 sizeX="96000" sizeY="90000"><image><scanSettings><channelSettings>
<channel index="1" name="FITC"/><channel index="0" name="DAPI"/>
</channelSettings></scanSettings><pixels sizeX="96" sizeY="64"><dimension c="0" ifd="0"/><dimension c="1" ifd="1"/>
</pixels><view sizeX="48000" sizeY="32000"/></image></collection></scn>"""
    with tifffile.TiffWriter(tmp_path / "cells.scn", bigtiff=True) as tiff:
        for number, plane in enumerate(planes):
            tiff.write(plane, tile=(32, 32), metadata=None, description=None if number else xml)
    image = read_image(tmp_path / "cells.scn", "FITC")
    np.testing.assert_array_equal(image.pixels[..., 0], planes[1])
    np.testing.assert_array_equal(image.measured, np.moveaxis(planes, 0, -1))
    assert (image.measured_names, image.pixel_size_um) == (("DAPI", "grey"), (0.5, 0.5))
    with pytest.raises(ImageError, match=r"holds 2 channels .*: 1 \(DAPI\), 2 \(FITC\)"):
        read_image(tmp_path / "cells.scn")


def test_scn_of_several_scans_or_of_the_overview_alone(tmp_path, slide):
    write_scn(tmp_path / "cells.scn", slide, [SCAN.format(160_000, 1, 2, 128_000), SCAN.format(80_000, 3, 4, 64_000)])
    with pytest.raises(ImageError, match="holds 2 pictures .* --series"):
        read_image(tmp_path / "cells.scn")
    assert read_image(tmp_path / "cells.scn", planes=Planes(series=1)).pixel_size_um == (0.25, 0.25)
    write_scn(tmp_path / "cells.scn", slide, [])
    assert read_image(tmp_path / "cells.scn").pixels.shape == (231, 80, 1)


@pytest.mark.parametrize(("per_cm", "expected"), [(20_000, 0.5), (None, 0.4981)])
def test_micrometres_of_qptiff(tmp_path, slide, per_cm, expected):
    xml = """<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription><Name>DAPI</Name>
<ScanProfile><root><ScanResolution><PixelSizeMicrons>0.4981</PixelSizeMicrons></ScanResolution></root></ScanProfile>
</PerkinElmer-QPI-ImageDescription>"""
    options = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"} if per_cm else {}
    write(tmp_path / "cells.qptiff", slide, [4], description=xml, software="PerkinElmer-QPI", **options)
    assert read_image(tmp_path / "cells.qptiff").pixel_size_um == (expected, expected)


def write_bif(file, slide, overlap):
    scan = b'<Metadata><iScan Magnification="20" ScanRes="0.4650" UnitNumber="1"/></Metadata>'
    joints = b"".join(
        b'<TileJointInfo FlagJoined="%d" Direction="RIGHT" Tile1="1" Tile2="2" OverlapX="%d" OverlapY="0"/>' % joint
        for joint in ((0, 500), (1, overlap))
    )
    options = {"photometric": "rgb", "metadata": None, "software": "ScanOutputManager 1.1.0.15854"}
    with tifffile.TiffWriter(file, bigtiff=True) as tiff:
        tags = [(700, 1, len(scan), scan, True)]
        tiff.write(slide[:100, :50].copy(), description="Label_Image", extratags=tags, **options)
        tags = [(700, 1, len(joints), joints, True)]
        tiff.write(slide, description="level=0 mag=20 quality=90", tile=(64, 64), extratags=tags, **options)
        tiff.write(slide[::2, ::2].copy(), description="level=1 mag=10 quality=90", tile=(64, 64), **options)


def test_bif(tmp_path, slide):
    write_bif(tmp_path / "cells.bif", slide, overlap=0)
    image = read_image(tmp_path / "cells.bif")
    np.testing.assert_array_equal(image.pixels, slide)
    assert image.pixel_size_um == (0.465, 0.465)


def test_bif_whose_tiles_overlap(tmp_path, slide):
    write_bif(tmp_path / "cells.bif", slide, overlap=-38)
    with pytest.raises(ImageError, match="tiles overlap by up to 38 pixels, where .* export it as OME-TIFF"):
        read_image(tmp_path / "cells.bif")


def test_lsm(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (4, 3, 48, 56), np.uint8)
    write_lsm(tmp_path / "cells.lsm", stack[:1], side_um=0.21)
    with pytest.raises(ImageError, match="holds 3 channels .* --channel NAME"):
        read_image(tmp_path / "cells.lsm")
    image = read_image(tmp_path / "cells.lsm", "2")
    np.testing.assert_array_equal(image.pixels[..., 0], stack[0, 1])
    assert image.pixel_size_um == pytest.approx((0.21, 0.21))


def test_lsm_of_planes_in_z(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (4, 3, 48, 56), np.uint8)
    write_lsm(tmp_path / "cells.lsm", stack, side_um=0.21)
    with pytest.raises(ImageError, match="holds 4 planes in Z x 3 channels .* --project max"):
        read_image(tmp_path / "cells.lsm", "2")
    image = read_image(tmp_path / "cells.lsm", "2", Planes("max"))
    np.testing.assert_array_equal(image.pixels[..., 0], stack[:, 1].max(0))
    np.testing.assert_array_equal(image.measured, np.moveaxis(stack.max(0), 0, -1))
    block = TiffBlocks(tmp_path / "cells.lsm", "3", Planes("max")).read(slice(5, 40), slice(7, 50))
    np.testing.assert_array_equal(block.pixels, stack[:, 2].max(0)[5:40, 7:50])
    colours = read_image(tmp_path / "cells.lsm", "rgb", Planes("3"))
    np.testing.assert_array_equal(colours.pixels, np.moveaxis(stack[2], 0, -1))

"""Files of microscope vendors: drawn ones, stand-ins for what a library opens, and a real CZI where there is one."""

import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import olefile
import pytest

from segmentation.data.formats.decoded import DecodeError
from segmentation.data.formats.planes import Planes
from segmentation.data.images import ImageError, read_image
from segmentation.data.large import content_digest
from segmentation.data.pictures import list_pictures, planes_of
from tests.data.formats.vendor_files import write_lif, write_oib, write_oif

ROOT = Path(__file__).parents[3]
REAL = Path(os.environ.get("MICROSCOPES_DIR", "nowhere"), "xyz__multiple_images.czi")

for library in ("nd2", "czifile", "liffile", "oiffile"):
    pytest.importorskip(library, reason="requirements/microscopes.txt is not installed")

RNG = np.random.default_rng(0)


@pytest.fixture
def lif(tmp_path):
    """Two images: times, planes and channels; and colours."""
    first = RNG.integers(0, 4000, (3, 4, 2, 30, 40), np.uint16)
    second = RNG.integers(0, 255, (25, 35, 3), np.uint8)
    write_lif(tmp_path / "a.lif", {"first": first, "second": second})
    return tmp_path / "a.lif", first, second


def test_each_image_of_a_lif_and_each_time_is_a_picture(lif):
    file, first, second = lif
    places = [place for _, place in list_pictures(file)]
    frames = [(("series", "1"), ("frame", str(number))) for number in (1, 2, 3)]
    assert places == [*frames, (("series", "2"),)]
    found = read_image(file, "2", planes_of(places[1], "max"))
    np.testing.assert_array_equal(found.pixels[..., 0], first[1, :, 1].max(axis=0))
    np.testing.assert_array_equal(found.measured, first[1].max(axis=0).transpose(1, 2, 0))
    assert found.measured_names == ("Blue", "grey") and found.pixel_size_um == pytest.approx((0.5, 0.5))
    np.testing.assert_array_equal(read_image(file, None, planes_of(places[3], None)).pixels, second)
    plane = read_image(file, "1", planes_of(places[0], "3")).pixels
    np.testing.assert_array_equal(plane[..., 0], first[0, 2, 0])


@pytest.mark.parametrize(
    ("channel", "planes", "reason"),
    [
        ("1", None, "holds 2 scenes, where one picture was expected: choose one with --series N"),
        ("1", Planes("max", series=2), r"holds 2 scenes, where a series 3 was asked for \(--series\)"),
        ("1", Planes("max", series=0), "holds 3 time points x 4 planes in Z x 2 channels of 30 x 40 pixels"),
        ("1", Planes("max", series=0, frame=3), "where a frame 4 was asked for"),
        ("1", Planes(None, series=0, frame=0), "project the stack with --project max or mean"),
        (None, Planes("max", series=0, frame=0), r"1 \(Blue\), 2 \(Green\).*choose one with --channel"),
        ("DAPI", Planes("max", series=0, frame=0), r"has no channel 'DAPI', where one of 1 \(Blue\), 2 \(Green\)"),
        ("rgb", Planes("max", series=0, frame=0), "where at least three were expected for --channel rgb"),
    ],
)
def test_a_choice_that_is_missing_or_wrong_is_refused(lif, channel, planes, reason):
    with pytest.raises(ImageError, match=reason):
        read_image(lif[0], channel, planes)


def test_an_oif_is_read_with_its_folder(tmp_path):
    planes = RNG.integers(0, 4000, (2, 3, 20, 30), np.uint16)
    file = tmp_path / "a.oif"
    write_oif(file, planes, ["CHS1", "CHS2"])
    found = read_image(file, "CHS2", Planes("mean"))
    np.testing.assert_allclose(found.pixels[..., 0], planes[1].mean(axis=0), rtol=1e-6)
    assert found.measured_names == ("CHS1", "grey") and found.pixel_size_um == pytest.approx((0.25, 0.25))
    assert list_pictures(file) == [(file, ())]
    before = content_digest(file)
    (folder,) = tmp_path.glob("*.files")
    write_oif(tmp_path / "b.oif", planes + 1, ["CHS1", "CHS2"])
    (folder / "s_C001Z001.tif").write_bytes((tmp_path / "b.oif.files" / "s_C001Z001.tif").read_bytes())
    assert content_digest(file) != before
    (folder / "s_C001Z001.tif").unlink()
    with pytest.raises(ImageError, match=r"a.oif "):
        read_image(file, "CHS1", Planes("1"))


@pytest.mark.parametrize("side", [20, 70])  # TIFFs of less than 4,096 bytes are stored apart
def test_an_oib_is_read(tmp_path, side):
    planes = RNG.integers(0, 4000, (2, 3, side, 30), np.uint16)
    file = tmp_path / "a.oib"
    write_oib(file, planes, ["CHS1", "CHS2"])
    with olefile.OleFileIO(file, raise_defects=olefile.DEFECT_POTENTIAL) as written:
        assert len(written.listdir()) == 2 + 6
    found = read_image(file, "CHS2", Planes("max"))
    np.testing.assert_array_equal(found.pixels[..., 0], planes[1].max(axis=0))
    np.testing.assert_array_equal(found.measured[..., 0], planes[0].max(axis=0))
    assert found.measured_names == ("CHS1", "grey") and found.pixel_size_um == pytest.approx((0.25, 0.25))
    in_memory = SimpleNamespace(read_bytes=file.read_bytes)
    np.testing.assert_array_equal(read_image(in_memory, "1", Planes("2")).pixels[..., 0], planes[0, 1])


@pytest.mark.parametrize("claimed", ["circle", "tables", "further tables"])
def test_an_oib_of_circles_or_false_claims_is_refused(tmp_path, claimed):
    file = tmp_path / "a.oib"
    write_oib(file, RNG.integers(0, 4000, (1, 2, 70, 30), np.uint16), ["CHS1"])
    content = bytearray(file.read_bytes())
    if claimed == "circle":
        (table,) = struct.unpack_from("<I", content, 76)
        place = 512 + table * 512
        content[place : place + 8] = struct.pack("<2I", 1, 0)
    else:
        struct.pack_into("<I", content, 44 if claimed == "tables" else 72, 2**31)
    file.write_bytes(content)
    with pytest.raises(ImageError, match="sectors form a circle" if claimed == "circle" else "claims 2,147,483,6"):
        read_image(file, "CHS1", Planes("1"))


def position(loops, sizes, frames, names=("DAPI", "GFP")):
    """Stand in for an open ND2, whose frames hold all channels of one time, plane and position."""
    channels = [SimpleNamespace(channel=SimpleNamespace(name=name)) for name in names]
    return SimpleNamespace(
        sizes=sizes,
        loop_indices=loops,
        dtype=frames.dtype,
        metadata=SimpleNamespace(channels=channels),
        voxel_size=lambda: SimpleNamespace(x=0.3, y=0.3, z=1.0),
        read_frame=lambda index: frames[index].squeeze(),
    )


def test_positions_of_an_nd2_are_scenes():
    from segmentation.data.formats.nd2 import list_positions

    # Two positions of three planes, in the order of the file: planes outside of positions.
    loops = [{"Z": plane, "P": place} for plane in range(3) for place in range(2)]
    frames = RNG.integers(0, 4000, (6, 2, 20, 30), np.uint16)
    scenes = list_positions(position(loops, {"Z": 3, "P": 2, "C": 2, "Y": 20, "X": 30}, frames), frames.nbytes)
    assert [(scene.shape, scene.frames, scene.depth, tuple(scene.names)) for scene in scenes] == [
        ((20, 30), 1, 3, ("DAPI", "GFP"))
    ] * 2
    np.testing.assert_array_equal(scenes[1].read(0, 2, 1), frames[5, 1])
    assert scenes[0].pixel_size_um == pytest.approx((0.3, 0.3))


def test_an_nd2_in_colours_and_one_with_other_axes():
    from segmentation.data.formats.nd2 import list_positions

    frames = RNG.integers(0, 255, (1, 20, 30, 3), np.uint8)
    (scene,) = list_positions(position([], {"Y": 20, "X": 30, "S": 3}, frames), frames.nbytes)
    assert scene.has_colours
    np.testing.assert_array_equal(scene.read(0, 0, 0), frames[0])
    with pytest.raises(DecodeError, match="is an ND2 of 4 O, where positions"):
        list_positions(position([], {"O": 4, "Y": 20, "X": 30}, frames), frames.nbytes)


def test_an_nd2_takes_no_memory_for_the_samples_that_it_claims():
    from segmentation.data.formats.nd2 import check_samples

    def file(*counts):
        planes = {str(number): {"CompCount": count} for number, count in enumerate(counts)}
        metadata = {"ImageMetadataSeqLV|0": {"SLxPictureMetadata": {"PicturePlanes": {"PlaneNew": planes}}}}
        return SimpleNamespace(unstructured_metadata=lambda include: metadata)

    check_samples(file(1, 3))
    check_samples(SimpleNamespace(unstructured_metadata=lambda include: {}))
    with pytest.raises(DecodeError, match="claim 117,440,513 samples, where at most 4"):
        check_samples(file(1, 117_440_513))


def tile(pixels, compression=0, data=None, **starts):
    """Stand in for an entry of a CZI: a tile at the place that `starts` gives."""
    height, width = pixels.shape[:2]
    lengths = {"Y": height, "X": width}
    dimensions = [
        SimpleNamespace(dimension=axis, start=starts.get(axis, 0), size=lengths.get(axis, 1))
        for axis in {"Y": 0, "X": 0, **starts}
    ]
    dtype = pixels.dtype.str if pixels.ndim == 2 else f"3{pixels.dtype.str[1:]}"
    content = pixels[..., ::-1].tobytes() if pixels.ndim == 3 else pixels.tobytes()
    segment = SimpleNamespace(data=lambda raw: content if data is None else data)
    axes = "".join(dimension.dimension for dimension in dimensions)
    return SimpleNamespace(
        dimension_entries=dimensions, axes=axes, dtype=dtype, compression=compression, data_segment=lambda: segment
    )


def scene_of(*tiles):
    from segmentation.data.formats.czi import _scene

    return _scene(tiles, [], None)


def test_tiles_of_a_czi_are_put_together_by_their_places():
    whole = RNG.integers(1, 4000, (2, 40, 50), np.uint16)
    parts = [
        tile(whole[channel, row : row + 20, column : column + 25], Y=100 + row, X=column - 7, C=channel + 3, T=9)
        for channel in range(2)
        for row in (0, 20)
        for column in (0, 25)
    ]
    scene = scene_of(*parts)
    assert (scene.shape, scene.frames, scene.depth, len(scene.names)) == ((40, 50), 1, 1, 2)
    for channel in range(2):
        np.testing.assert_array_equal(scene.read(0, 0, channel), whole[channel])
    gap = scene_of(*parts[1:4], *parts[4:]).read(0, 0, 0)
    assert not gap[:20, :25].any() and (gap[20:] == whole[0, 20:]).all()


def test_colours_of_a_czi_and_the_glass_between_its_tiles():
    pixels = RNG.integers(0, 200, (10, 12, 3), np.uint8)
    picture = scene_of(tile(pixels), tile(pixels, Y=0, X=20)).read(0, 0, 0)
    np.testing.assert_array_equal(picture[:, :12], pixels)
    assert (picture[:, 12:20] == 255).all()


def test_channels_of_several_kinds_in_a_czi():
    transmitted, nuclei = RNG.integers(0, 256, (10, 12), np.uint8), RNG.integers(0, 4000, (10, 12), np.uint16)
    for tiles in ((tile(transmitted, C=0), tile(nuclei, C=1)), (tile(nuclei, C=1), tile(transmitted, C=0))):
        np.testing.assert_array_equal(scene_of(*tiles).read(0, 0, 0), transmitted)
        np.testing.assert_array_equal(scene_of(*tiles).read(0, 0, 1), nuclei)
    colours = tile(np.stack([transmitted] * 3, axis=-1), C=0)
    with pytest.raises(DecodeError, match="colours beside grey channels"):
        scene_of(colours, tile(nuclei, C=1))
    with pytest.raises(DecodeError, match="2 channels in colours"):
        scene_of(colours, tile(np.stack([nuclei] * 3, axis=-1), C=1))


def test_compressions_of_a_czi():
    pixels = RNG.integers(0, 4000, (10, 12), np.uint16)
    plain = imagecodecs.zstd_encode(pixels.tobytes())
    apart = pixels.view(np.uint8).reshape(-1, 2).T.tobytes()  # low bytes, then high bytes
    for compression, data in (
        (2, imagecodecs.lzw_encode(pixels.tobytes())),
        (4, imagecodecs.jpegxr_encode(pixels, level=1.0)),
        (5, plain),
        (6, b"\x01" + plain),
        (6, b"\x03\x01\x00" + plain),
        (6, b"\x03\x01\x01" + imagecodecs.zstd_encode(apart)),
    ):
        np.testing.assert_array_equal(scene_of(tile(pixels, compression, data)).read(0, 0, 0), pixels)
    with pytest.raises(DecodeError, match="is a CZI in compression 100, which is not known"):
        scene_of(tile(pixels, 100)).read(0, 0, 0)


def test_a_czi_that_claims_too_much_or_lacks_a_plane_is_refused():
    pixels = np.zeros((10, 12), np.uint16)
    with pytest.raises(DecodeError, match="claims 100,012 x 50,010 pixels"):
        scene_of(tile(pixels), tile(pixels, Y=50_000, X=100_000))
    with pytest.raises(DecodeError, match="truncated"):
        scene_of(tile(pixels, data=b"short")).read(0, 0, 0)
    with pytest.raises(DecodeError, match="lacks a plane"):
        scene_of(tile(pixels, Z=0, C=0), tile(pixels, Z=1, C=1)).read(0, 0, 1)
    with pytest.raises(DecodeError, match="several entries of the axes V"):
        scene_of(tile(pixels, V=0), tile(pixels, V=1))


@pytest.mark.parametrize(
    "start", [b"ZISRAWFILE", b"\xda\xce\xbe\x0a", b"\x70\0\0\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"]
)
@pytest.mark.parametrize("rest", [b"", b"\0" * 500, RNG.bytes(3000)])
def test_damaged_files_are_one_sentence(tmp_path, start, rest):
    file = tmp_path / "a.bin"
    file.write_bytes(start + rest)
    with pytest.raises(ImageError, match=r"^.*a.bin is an? \w+ (CZI|ND2|LIF|OIB) .*(expected|$)") as caught:
        read_image(file)
    assert "\n" not in str(caught.value)


def test_a_missing_library_is_named_with_the_command(lif):
    code = (
        "import sys\n"
        "sys.modules['liffile'] = None\n"
        "from pathlib import Path\n"
        "from segmentation.data.images import read_image\n"
        "read_image(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(lif[0])]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "is a Leica LIF, for which liffile is needed, which is not installed" in ran.stderr
    assert "pip install -r requirements/microscopes.txt" in ran.stderr


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.exists(), reason="MICROSCOPES_DIR names no folder with xyz__multiple_images.czi")
def test_a_real_czi():
    import czifile

    pictures = list_pictures(REAL)
    assert [place for _, place in pictures] == [(("series", "1"),), (("series", "2"),)]
    with czifile.CziFile(REAL) as czi:
        expected = czi.asarray()  # axes BVSCTZYX0
    for index, (file, place) in enumerate(pictures):
        image = read_image(file, None, planes_of(place, "max"))
        np.testing.assert_array_equal(image.pixels[..., 0], expected[0, 0, index, 0, 0].max(axis=0)[..., 0])
        assert image.pixel_size_um == pytest.approx((0.1956444, 0.1956444))
    content = REAL.read_bytes()
    in_memory = SimpleNamespace(read_bytes=lambda: content)
    assert read_image(in_memory, "ChA", Planes("1", series=1)).pixels.shape == (251, 251, 1)


def test_a_lif_takes_no_memory_for_what_its_header_claims(tmp_path):
    write_lif(tmp_path / "cells.lif", {"a": RNG.integers(0, 9, (1, 1, 1, 8, 9), np.uint16)})
    content = bytearray((tmp_path / "cells.lif").read_bytes())
    content[9:13] = (2**29).to_bytes(4, "little")  # characters of the XML, of 2 bytes
    (tmp_path / "cells.lif").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"cells\.lif is a Leica LIF that cannot be decoded"):
            read_image(tmp_path / "cells.lif")
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()

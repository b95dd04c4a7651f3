import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from segmentation.data.colours import find_single_channel, is_lookup_table
from segmentation.data.formats.planes import Planes
from segmentation.data.images import ImageError, read_image
from segmentation.data.large import open_large
from segmentation.paths import sample_data

RAMP = np.arange(256, dtype=np.uint8)
TABLES = {
    "blue": np.stack([0 * RAMP, 0 * RAMP, RAMP], axis=-1),
    "magenta": np.stack([RAMP, 0 * RAMP, RAMP], axis=-1),
    "fire": cv2.applyColorMap(RAMP[None], cv2.COLORMAP_INFERNO)[0][:, ::-1],
    "jet": cv2.applyColorMap(RAMP[None], cv2.COLORMAP_JET)[0][:, ::-1],
    "HiLo": np.concatenate([[[0, 0, 255]], np.repeat(RAMP[1:255, None], 3, axis=1), [[255, 0, 0]]]).astype(np.uint8),
    "16 colours": cv2.applyColorMap(RAMP[None] // 16 * 16, cv2.COLORMAP_JET)[0][:, ::-1],
}
SAMPLES = sample_data() / "test" / "images"


@pytest.fixture(scope="module")
def nuclei():
    return read_image(SAMPLES / "fluorescence_05.png").pixels[..., 0]


@pytest.fixture(scope="module")
def cytoplasm(nuclei):
    return cv2.GaussianBlur(np.roll(nuclei, 9, 1), (0, 0), 6)


@pytest.mark.parametrize("name", TABLES)
def test_the_index_of_a_lookup_table_is_the_intensity(nuclei, tmp_path, name):
    colormap = TABLES[name].T.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "lut.tif", nuclei, photometric="palette", colormap=colormap)
    np.testing.assert_array_equal(read_image(tmp_path / "lut.tif").pixels[..., 0], nuclei)
    picture = Pillow.fromarray(nuclei)
    picture.putpalette(TABLES[name].tobytes())
    for suffix, options in (("png", {}), ("gif", {"optimize": False})):
        picture.save(tmp_path / f"lut.{suffix}", **options)
        np.testing.assert_array_equal(read_image(tmp_path / f"lut.{suffix}").pixels[..., 0], nuclei)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("how", ["max", "mean", "2"])
def test_a_stack_with_a_lookup_table_is_projected(nuclei, tmp_path, name, how):
    stored = np.stack([nuclei // 3, nuclei, nuclei // 2])
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        for index, plane in enumerate(stored):
            description = "ImageJ=1.54f\nimages=3\nslices=3\n" if index == 0 else None
            table = TABLES[name].T.astype(np.uint16) * 257
            writer.write(plane, photometric="palette", colormap=table, description=description, metadata=None)
    expected = {"max": stored.max(axis=0), "mean": stored.mean(axis=0, dtype=np.float32), "2": nuclei}[how]
    pixels = read_image(tmp_path / "stack.tif", planes=Planes(project=how)).pixels[..., 0]
    np.testing.assert_allclose(pixels, expected, rtol=1e-6)
    assert how == "mean" or pixels.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_inverting_lookup_table_of_imagej_is_no_data(nuclei, tmp_path, dtype):
    stored, file = nuclei.astype(dtype), tmp_path / "inverting.tif"
    tifffile.imwrite(file, stored, photometric="miniswhite", description="ImageJ=1.54f\n", metadata=None)
    np.testing.assert_array_equal(read_image(file).pixels[..., 0], stored)
    np.testing.assert_array_equal(open_large(file, None, 0).read(slice(0, 50), slice(0, 60))[..., 0], stored[:50, :60])
    both = np.stack([stored, stored[::-1]])
    description = "ImageJ=1.54f\nimages=2\nchannels=2\n"
    tifffile.imwrite(file, both, photometric="miniswhite", description=description, metadata=None)
    np.testing.assert_array_equal(read_image(file, "2").pixels[..., 0], both[1])
    np.testing.assert_array_equal(np.moveaxis(read_image(file, "2").measured, -1, 0), both)


@pytest.mark.parametrize("method", [Pillow.Quantize.MEDIANCUT, Pillow.Quantize.MAXCOVERAGE, Pillow.Quantize.FASTOCTREE])
@pytest.mark.parametrize("colours", [16, 64, 256])
def test_the_palette_of_a_stained_picture_is_its_colours(tmp_path, method, colours):
    for file in sorted(SAMPLES.glob("stained*")):
        picture = Pillow.open(file).convert("RGB").quantize(colours, method=method)
        picture.save(tmp_path / "stained.png")
        np.testing.assert_array_equal(read_image(tmp_path / "stained.png").pixels, np.asarray(picture.convert("RGB")))
        padded = np.zeros((256, 3), np.uint8)  # as TIFF has it
        padded[:colours] = np.reshape(picture.getpalette() + [0] * 768, (-1, 3))[:colours]
        assert not is_lookup_table(padded)


def test_a_palette_that_goes_to_and_fro_is_that_of_a_picture(tmp_path):
    """As Pillow makes it of a stained picture out of focus, in small steps."""
    file = sample_data() / "train" / "images" / "stained_18.png"
    picture = Pillow.fromarray(cv2.GaussianBlur(cv2.imread(str(file))[..., ::-1], (0, 0), 9)).quantize(256)
    steps = np.abs(np.diff(np.reshape(picture.getpalette(), (256, 3)), axis=0)).sum(axis=1)
    assert steps.max() == 13  # as those of lookup tables
    picture.save(tmp_path / "stained.png")
    np.testing.assert_array_equal(read_image(tmp_path / "stained.png").pixels, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(
    "colour", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (0, 1 / 3, 1), (1, 0.5, 0.25)]
)
def test_one_channel_in_a_colour_is_grey(nuclei, tmp_path, colour):
    shown = np.round(nuclei[..., None] * np.array(colour)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "shown.png"), shown[..., ::-1])
    image = read_image(tmp_path / "shown.png")
    assert image.channel_names == ("grey",)
    np.testing.assert_array_equal(image.pixels[..., 0], nuclei)


def test_so_it_is_in_jpeg(nuclei, tmp_path):
    for channel in range(3):
        shown = np.zeros((*nuclei.shape, 3), np.uint8)
        shown[..., channel] = nuclei
        cv2.imwrite(str(tmp_path / "shown.jpg"), shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        image = read_image(tmp_path / "shown.jpg")
        assert image.channel_names == ("grey",)
        assert np.abs(image.pixels[..., 0].astype(int) - nuclei).mean() < 6


COLOURS = {
    "blue": (0, 0, 1),
    "cyan": (0, 1, 1),
    "magenta": (1, 0, 1),
    "orange": (1, 0.5, 0),
    "as DAPI": (0.27, 0.27, 1),
}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("quality", [None, 95, 75, 50])
def test_so_it_is_with_a_white_scale_bar_and_text_and_after_jpeg(nuclei, tmp_path, colour, quality):
    shown = (nuclei[..., None] * np.array(COLOURS[colour])).astype(np.uint8)
    is_covered = cv2.putText(np.zeros_like(nuclei), "20 um", (270, 335), cv2.FONT_HERSHEY_PLAIN, 1, 1)
    is_covered[-16:-10, -90:-10] = 1
    for is_annotated in (False, True):
        if is_annotated:
            shown[is_covered > 0] = 255
        file = tmp_path / ("shown.jpg" if quality else "shown.png")
        Pillow.fromarray(shown).save(file, **({"quality": quality} if quality else {}))
        image = read_image(file)
        assert image.channel_names == ("grey",)
        expected = np.where(is_covered & is_annotated, 255, nuclei)
        difference = np.abs(image.pixels[..., 0].astype(int) - expected)
        assert difference.mean() < 6 if quality else not difference.any()


def test_colours_of_floats_are_not_taken_for_rounding(tmp_path):
    stored = (cv2.imread(str(SAMPLES / "stained_06.png"))[..., ::-1] / 255).astype(np.float32)
    tifffile.imwrite(tmp_path / "float.tif", stored, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "float.tif").pixels, stored)


@pytest.mark.parametrize("marker", [(0, 1, 0), (1, 0, 0)])
def test_a_marker_in_few_nuclei_is_no_scale_bar(nuclei, marker):
    n_labels, labels = cv2.connectedComponents((nuclei > 60).astype(np.uint8))
    merged = np.stack([0 * nuclei, 0 * nuclei, nuclei], axis=-1)
    merged[labels == n_labels - 1] += 200 * np.array(marker, np.uint8)
    assert np.mean(merged[..., :2].any(axis=-1)) < 0.02
    merged[-16:-10, -90:-10] = 255
    assert find_single_channel(merged) is None


def test_colours_that_are_data_stay(nuclei, cytoplasm):
    assert find_single_channel(np.stack([0 * nuclei, cytoplasm, nuclei], axis=-1)) is None
    assert find_single_channel(np.stack([nuclei, np.roll(cytoplasm, 20, 0), 0 * nuclei], axis=-1)) is None
    tint = np.clip(nuclei[..., None] * np.array([1, 0.97, 0.93]), 0, 255).astype(np.uint8)
    assert find_single_channel(tint) is None
    for file in sorted(SAMPLES.glob("stained*")):
        assert find_single_channel(cv2.imread(str(file))) is None


def test_black_and_tiny_pictures_stay():
    assert find_single_channel(np.zeros((20, 20, 3), np.uint8)) is None
    assert find_single_channel(np.array([[[0, 0, 9]]], np.uint8)) is None


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 12, shape, np.uint8)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb"},
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        {"photometric": "rgb", "tile": (64, 64)},
    ],
)
def test_a_fourth_channel_is_not_dropped(nuclei, tmp_path, options):
    file = tmp_path / "four.tif"
    stored = np.dstack([*(noise(nuclei.shape, seed) for seed in range(3)), nuclei])
    tifffile.imwrite(file, stored, **options)
    with pytest.raises(
        ImageError, match=r"four\.tif holds 4 channels, 1 \(red\), .*, 4, .*; choose one with --channel"
    ):
        read_image(file)
    image = read_image(file, "4")
    np.testing.assert_array_equal(image.pixels[..., 0], nuclei)
    assert image.measured_names == ("red", "green", "blue", "grey")
    np.testing.assert_array_equal(read_image(file, "rgb").pixels, stored[..., :3])
    with pytest.raises(ImageError, match="holds 4 channels"):
        open_large(file, None, 0)
    np.testing.assert_array_equal(open_large(file, "4", 0).read(slice(0, 50), slice(0, 60))[..., 0], nuclei[:50, :60])


def test_a_fourth_channel_in_planes_and_in_png(nuclei, tmp_path):
    stored = np.stack([*(noise(nuclei.shape, seed) for seed in range(3)), nuclei])
    tifffile.imwrite(tmp_path / "planes.tif", stored, photometric="rgb", planarconfig="separate")
    Pillow.fromarray(np.moveaxis(stored, 0, -1)).save(tmp_path / "four.png")
    for name in ("planes.tif", "four.png"):
        with pytest.raises(ImageError, match="holds 4 channels, .* choose one with --channel"):
            read_image(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name, "4").pixels[..., 0], nuclei)


def test_two_channels_saved_last_are_not_pages(nuclei, tmp_path):
    tifffile.imwrite(tmp_path / "last.tif", np.dstack([noise(nuclei.shape), nuclei]))
    with pytest.raises(ImageError, match=r"which are 2 channels with the channels last.*\(2, 360, 360\)"):
        read_image(tmp_path / "last.tif", "2")


def test_a_channel_never_goes_through_the_palette_of_the_first_page(nuclei, tmp_path):
    with tifffile.TiffWriter(tmp_path / "composite.tif") as writer:
        for page in (noise(nuclei.shape), nuclei):
            writer.write(
                page, photometric="palette", colormap=np.zeros((3, 256), np.uint16), contiguous=False, metadata=None
            )
    channel = read_image(tmp_path / "composite.tif", "2")
    np.testing.assert_array_equal(channel.pixels[..., 0], nuclei)


@pytest.mark.parametrize("names", [("red", "green", "blue"), ("H", "E", "rest")])
def test_three_pages_are_colours(tmp_path, names):
    stored = cv2.imread(str(SAMPLES / "stained_06.png"))[..., ::-1]
    file = tmp_path / "stains.ome.tif"
    tifffile.imwrite(
        file,
        np.moveaxis(stored, -1, 0),
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": list(names)}},
    )
    np.testing.assert_array_equal(read_image(file, "rgb").pixels, stored)
    large = open_large(file, "rgb", 0)
    np.testing.assert_array_equal(large.read(slice(0, 99), slice(0, 99)), stored[:99, :99])
    if names[0] == "red":
        np.testing.assert_array_equal(read_image(file).pixels, stored)
    else:
        with pytest.raises(ImageError, match=r"1 \(H\), 2 \(E\), 3 \(rest\)"):
            read_image(file)


def test_a_grey_file_has_each_colour(nuclei, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), nuclei)
    for channel in ("blue", "Red", "rgb", "1"):
        np.testing.assert_array_equal(read_image(tmp_path / "grey.png", channel).pixels[..., 0], nuclei)
    with pytest.raises(ImageError, match="has no channel 'DAPI'"):
        read_image(tmp_path / "grey.png", "DAPI")

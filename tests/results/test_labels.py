import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import read_image
from segmentation.data.label_maps import read_label_map
from segmentation.results.labels import write_label_map
from segmentation.results.masks import write_mask


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 300, (41, 53)).astype(np.int32)


def test_mask_is_read_back(tmp_path, labels):
    write_mask(tmp_path / "a.png", labels)
    mask = np.asarray(PillowImage.open(tmp_path / "a.png"))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(labels > 0, 255, 0))


@pytest.mark.parametrize(
    ("highest", "dtype"), [(0, "uint16"), (65_535, "uint16"), (65_536, "uint32"), (2**31 - 1, "uint32")]
)
def test_label_map_is_read_back_in_the_smallest_type(tmp_path, labels, highest, dtype):
    labels = np.minimum(labels, highest)
    labels[3, 4] = highest
    write_label_map(tmp_path / "a.tif", labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.pages[0].dtype == dtype
        assert np.array_equal(file.asarray(), labels)
    assert np.array_equal(read_label_map(tmp_path / "a.tif"), labels)


@pytest.mark.parametrize("highest", [300, 70_000])
def test_pixel_size_stands_where_imagej_looks_for_it(tmp_path, labels, highest):
    labels[0, 0] = highest
    write_label_map(tmp_path / "a.tif", labels, pixel_size_um=PixelSize(0.325, 0.325))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        assert file.is_imagej and file.imagej_metadata["unit"] == "um"
        pixels, micrometres = page.tags["XResolution"].value
        assert micrometres / pixels == pytest.approx(0.325, rel=1e-6)
        assert page.tags["YResolution"].value == page.tags["XResolution"].value
        assert page.tags["ResolutionUnit"].value == 1
        assert file.series[0].axes == "YX"
        assert np.array_equal(file.asarray(), labels)


def test_pixel_size_is_read_back_by_our_reader(tmp_path, labels):
    write_label_map(tmp_path / "a.tif", labels, pixel_size_um=PixelSize(0.65, 0.325))
    assert read_image(tmp_path / "a.tif").pixel_size_um == pytest.approx((0.65, 0.325), rel=1e-6)
    write_label_map(tmp_path / "b.tif", labels)
    assert read_image(tmp_path / "b.tif").pixel_size_um is None


def test_labels_that_do_not_fit_are_refused(tmp_path):
    for value in (-1, 2**32):
        with pytest.raises(ValueError, match=f"{value}"):
            write_label_map(tmp_path / "a.tif", np.array([[0, value]], np.int64))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_no_success(tmp_path, labels):
    for write in (write_mask, write_label_map):
        with pytest.raises(OSError):
            write(tmp_path / "absent" / "a.tif", labels)

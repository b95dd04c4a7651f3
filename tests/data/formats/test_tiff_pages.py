import io
import os
import struct

import numpy as np
import pytest
import tifffile

from segmentation.data.formats.decoded import DecodeError
from segmentation.data.formats.tiff_pages import MAX_PAGES, open_tiff
from segmentation.data.images import ImageError, read_image
from segmentation.data.large import open_large

PIXELS = np.arange(48 * 56, dtype=np.uint8).reshape(48, 56)
OTHER = 255 - PIXELS
IDS = [f"urn:uuid:00000000-0000-0000-0000-00000000000{number}" for number in range(2)]


def pages(count, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.stack([PIXELS] * count), photometric="minisblack", metadata=None, **options)
    return stream.getvalue()


def linked(content, source, target):
    """The same file, but that after page `source` comes page `target`."""
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        offsets = [page.offset for page in tiff.pages]
        layout = tiff.tiff
    (count,) = struct.unpack_from(layout.tagnoformat, content, offsets[source])
    place = offsets[source] + layout.tagnosize + count * layout.tagsize
    changed = bytearray(content)
    changed[place : place + layout.offsetsize] = struct.pack(layout.offsetformat, offsets[target])
    return bytes(changed)


def ome(file, other, channels=2):
    """A file whose OME-XML says that its second channel is in another file."""
    data = "".join(
        f'<TiffData IFD="0" FirstC="{channel}" PlaneCount="1"><UUID FileName="{name}">{IDS[channel]}</UUID></TiffData>'
        for channel, name in enumerate((file.name, other))
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{IDS[0]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="56" '
        f'SizeY="48" SizeC="{channels}" SizeZ="1" SizeT="1">{data}</Pixels></Image></OME>'
    )
    tifffile.imwrite(file, PIXELS, description=xml.encode(), metadata=None)
    return file


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("source, target", [(0, 0), (2, 0), (2, 2), (1, 0)])
def test_a_page_that_leads_back_is_refused(bigtiff, byteorder, source, target, tmp_path):
    content = linked(pages(3, bigtiff=bigtiff, byteorder=byteorder), source, target)
    with pytest.raises(DecodeError, match=f"whose page {source + 1} leads back to an earlier one"):
        open_tiff(io.BytesIO(content))
    (tmp_path / "circle.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"circle\.tif is a damaged TIFF whose page"):
        read_image(tmp_path / "circle.tif")


@pytest.mark.parametrize("bigtiff", [False, True])
def test_good_pages_are_all_there(bigtiff):
    with open_tiff(io.BytesIO(pages(5, bigtiff=bigtiff))) as tiff:
        assert len(tiff.pages) == 5


def test_a_file_cut_anywhere_is_no_circle(tmp_path):
    content = pages(2)
    for length in range(0, len(content), 97):
        with pytest.raises(ImageError, match=r"cut\.tif"):
            (tmp_path / "cut.tif").write_bytes(content[:length])
            read_image(tmp_path / "cut.tif")


@pytest.mark.parametrize("how", ["beside", "above", "absolute", "pipe"])
@pytest.mark.parametrize("read", [read_image, lambda file: open_large(file, None, 0)], ids=["whole", "by blocks"])
def test_no_other_file_is_opened(how, read, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    other = {"above": tmp_path}.get(how, folder) / "other.tif"
    if how == "pipe":
        os.mkfifo(other)  # whoever opens it waits
    else:
        tifffile.imwrite(other, OTHER, metadata=None)
    name = {"above": "../other.tif", "absolute": str(other)}.get(how, other.name)
    image = read(ome(folder / "first.ome.tif", name))
    pixels = image.pixels if hasattr(image, "pixels") else image.read(slice(0, 48), slice(0, 56))
    assert np.array_equal(pixels[..., 0], PIXELS)  # of this file, and of no other


def test_more_planes_than_a_file_can_have_are_refused(tmp_path):
    with pytest.raises(ImageError, match=f"claims 2000000000 x 1 x 1 planes .* at most {MAX_PAGES:,} were expected"):
        read_image(ome(tmp_path / "many.ome.tif", "none", channels=2_000_000_000))

"""Leica SCN: the XML that tells what the pages of a slide show, and how large it is."""

from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    import tifffile

_NOTHING = ElementTree.Element("nothing")


def is_overview(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> bool:
    """Tell whether a page shows the whole slide, in which the scanner found what to scan."""
    collection, image = _find(tiff, page)
    return image is not _NOTHING and _nanometres(_view(image)) == _nanometres(collection)


def pixel_sides(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> tuple[float, float]:
    """Return the width and height of a pixel in micrometres; 0 where the file does not tell."""
    width, height = _nanometres(_view(_find(tiff, page)[1]))
    return width / page.imagewidth / 1000, height / page.imagelength / 1000


def channel_names(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> list[str | None]:
    """Return the names of the channels of the image that a page belongs to."""
    channels = _find(tiff, page)[1].findall("{*}scanSettings/{*}channelSettings/{*}channel")
    return [channel.get("name") for channel in sorted(channels, key=lambda channel: int(channel.get("index", 0)))]


def _find(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> tuple[ElementTree.Element, ElementTree.Element]:
    """Return the collection that holds the image of a page, and that image; the view in it tells its size."""
    if tiff.is_scn:
        for collection in ElementTree.fromstring(tiff.pages.first.description).findall("{*}collection"):
            for image in collection.findall("{*}image"):
                pages = [dimension.get("ifd") for dimension in image.findall("{*}pixels/{*}dimension")]
                if str(page.index) in pages and _view(image) is not _NOTHING:
                    return collection, image
    return _NOTHING, _NOTHING


def _view(image: ElementTree.Element) -> ElementTree.Element:
    view = image.find("{*}view")
    return _NOTHING if view is None else view


def _nanometres(element: ElementTree.Element) -> tuple[float, float]:
    return float(element.get("sizeX", 0)), float(element.get("sizeY", 0))

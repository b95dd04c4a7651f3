"""Leica SCN: the XML that tells what the pages of a slide show, and how large it is."""

from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    import tifffile

_NOTHING = ElementTree.Element("view")


def is_overview(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> bool:
    """Tell whether a page shows the whole slide, in which the scanner found what to scan."""
    collection, view = _find(tiff, page)
    return view is not _NOTHING and _nanometres(view) == _nanometres(collection)


def pixel_sides(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> tuple[float, float]:
    """Return the width and height of a pixel in micrometres; 0 where the file does not tell."""
    width, height = _nanometres(_find(tiff, page)[1])
    return width / page.imagewidth / 1000, height / page.imagelength / 1000


def _find(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> tuple[ElementTree.Element, ElementTree.Element]:
    """Return the collection that holds the image of a page, and the view that tells its size."""
    if tiff.is_scn:
        for collection in ElementTree.fromstring(tiff.pages.first.description).findall("{*}collection"):
            for image in collection.findall("{*}image"):
                pages = [dimension.get("ifd") for dimension in image.findall("{*}pixels/{*}dimension")]
                view = image.find("{*}view")
                if str(page.index) in pages and view is not None:
                    return collection, view
    return _NOTHING, _NOTHING


def _nanometres(element: ElementTree.Element) -> tuple[float, float]:
    return float(element.get("sizeX", 0)), float(element.get("sizeY", 0))

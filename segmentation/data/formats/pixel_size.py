"""The side of a pixel in micrometres, from the metadata of an image file."""

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from segmentation.data.formats import bif, scn

if TYPE_CHECKING:
    import tifffile

# What a microscope that shows nuclei can have. Screens and printers (72 to 2,540 dots an inch) have 10 and more.
FINEST_PIXEL_UM, COARSEST_PIXEL_UM = 0.002, 9.0

MICROMETRES = {
    "nm": 1e-3, "um": 1, "µm": 1, "μm": 1, "micron": 1, "microns": 1, "micrometer": 1, "micrometre": 1, "mm": 1e3,
    "cm": 1e4, "m": 1e6, "in": 25_400, "inch": 25_400,
    r"\u00b5m": 1,  # as ImageJ spells µm
}  # fmt: skip
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}  # of the TIFF tag


def square_pixel_size(width_um: float, height_um: float) -> float | None:
    """Return `width_um` as the side of a pixel, or None where the figures cannot be those of a microscope.

    They cannot where a side lies outside of `FINEST_PIXEL_UM` to `COARSEST_PIXEL_UM` (the 72 or 96 dots an inch that
    programs write by default do), or where the sides differ by more than 1 %.
    """
    if not FINEST_PIXEL_UM <= width_um <= COARSEST_PIXEL_UM or abs(width_um - height_um) > 0.01 * width_um:
        return None
    return float(width_um)


def size_from_density(per_metre_x: int, per_metre_y: int) -> float | None:
    """Return the side of a pixel in micrometres from the pixels in a metre, as PNG and BMP store it, or None."""
    if per_metre_x <= 0 or per_metre_y <= 0:
        return None
    return square_pixel_size(1e6 / per_metre_x, 1e6 / per_metre_y)


def tiff_pixel_size(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> float | None:
    """Return the side of a pixel in micrometres; None if unknown.

    It is read from OME-XML, the metadata of Aperio, Leica, Ventana, Zeiss or ImageJ, else from the resolution tags,
    else from the metadata of QPTIFF.
    """
    if tiff.is_ome:
        pixels = ome_pixels(tiff, page)
        size = square_pixel_size(_ome_length(pixels, "PhysicalSizeX"), _ome_length(pixels, "PhysicalSizeY"))
        if size:
            return size
    if tiff.is_scn and (size := square_pixel_size(*scn.pixel_sides(tiff, page))):
        return size
    if tiff.is_lsm and (info := tiff.lsm_metadata):
        return square_pixel_size(info["VoxelSizeX"] * 1e6, info["VoxelSizeY"] * 1e6)
    if tiff.is_bif and (size := square_pixel_size(bif.pixel_side(tiff), bif.pixel_side(tiff))):
        return size
    aperio = re.search(r"\bMPP\s*=\s*(\d+\.?\d*)", page.description) if page.description.startswith("Aperio") else None
    if aperio:
        return square_pixel_size(float(aperio[1]), float(aperio[1]))
    unit = _RESOLUTION_UNITS.get(page.tags.valueof("ResolutionUnit"))
    if tiff.is_imagej:
        stated = str((tiff.imagej_metadata or {}).get("unit", unit)).lower()
        # As ImageJ reads it: micrometres beside a resolution in centimetres, as Micro-Manager writes, are a name only.
        unit = unit if unit == "cm" and MICROMETRES.get(stated) == 1 else stated
    pixels_per_unit = [page.tags.valueof(f"{axis}Resolution") for axis in "XY"]
    size = None
    if unit in MICROMETRES and all(rational and all(rational) for rational in pixels_per_unit):
        size = square_pixel_size(*(MICROMETRES[unit] * below / above for above, below in pixels_per_unit))
    akoya = re.search(r"<PixelSizeMicrons>\s*(\d*\.?\d+)", page.description) if tiff.is_qpi else None
    return square_pixel_size(float(akoya[1]), float(akoya[1])) if akoya and size is None else size


def all_ome_pixels(xml: str | None) -> list[ElementTree.Element]:
    """Find the elements Pixels of OME-XML; none if the text is damaged."""
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return []
    return [child for child in root.iter() if child.tag.endswith("}Pixels")]


def ome_pixels(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> ElementTree.Element:
    """Find the element Pixels of the series that a page describes; an empty element if there is none.

    The OME-XML of a set of files describes all of them: the elements of this file are those that name its UUID.
    """
    found = all_ome_pixels(tiff.ome_metadata)
    own_id = ElementTree.fromstring(tiff.ome_metadata or "").get("UUID") if found else None
    own = [pixels for pixels in found if own_id in [part.text for part in pixels.iter() if part.tag.endswith("}UUID")]]
    index = next((number for number, series in enumerate(tiff.series) if series.keyframe is page), 0)
    return next(iter((own or found)[index:]), ElementTree.Element("Pixels"))


def _ome_length(pixels: ElementTree.Element, name: str) -> float:
    unit = pixels.get(f"{name}Unit", "µm")
    try:
        return float(pixels.get(name, 0)) * MICROMETRES.get(unit, 0)
    except ValueError:
        return 0.0

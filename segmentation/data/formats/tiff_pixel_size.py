"""The size of a pixel, from the metadata of a TIFF file."""

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from segmentation.data.formats import bif, scn
from segmentation.data.formats.pixel_size import MICROMETRES, PixelSize, credible_size

if TYPE_CHECKING:
    import tifffile

_RESOLUTION_UNITS = {2: "inch", 3: "cm"}  # of the TIFF tag


def tiff_pixel_size(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> PixelSize | None:
    """Return the size of a pixel; None if unknown.

    It is read from OME-XML, the metadata of Aperio, Leica, Ventana, Zeiss, MetaMorph, MetaXpress or ImageJ, else from
    the resolution tags, else from the metadata of QPTIFF.
    """
    if tiff.is_ome:
        pixels = ome_pixels(tiff, page)
        size = credible_size(_ome_length(pixels, "PhysicalSizeX"), _ome_length(pixels, "PhysicalSizeY"))
        if size:
            return size
    if tiff.is_scn and (size := credible_size(*scn.pixel_sides(tiff, page))):
        return size
    if tiff.is_lsm and (info := tiff.lsm_metadata):
        return credible_size(info["VoxelSizeX"] * 1e6, info["VoxelSizeY"] * 1e6)
    if tiff.is_stk and (info := tiff.stk_metadata) and (um := MICROMETRES.get(info.get("CalibrationUnits", ""))):
        return credible_size(info.get("XCalibration", 0) * um, info.get("YCalibration", 0) * um)
    if tiff.is_metaseries and (info := (tiff.metaseries_metadata or {}).get("PlaneInfo", {})):
        um = MICROMETRES.get(info.get("spatial-calibration-units", ""), 0) * bool(info.get("spatial-calibration-state"))
        return credible_size(*(float(info.get(f"spatial-calibration-{axis}", 0)) * um for axis in "xy"))
    if tiff.is_bif and (size := credible_size(bif.pixel_side(tiff), bif.pixel_side(tiff))):
        return size
    aperio = re.search(r"\bMPP\s*=\s*(\d+\.?\d*)", page.description) if page.description.startswith("Aperio") else None
    if aperio:
        return credible_size(float(aperio[1]), float(aperio[1]))
    unit = _RESOLUTION_UNITS.get(page.tags.valueof("ResolutionUnit"))
    if tiff.is_imagej:
        stated = str((tiff.imagej_metadata or {}).get("unit", unit)).lower()
        # As ImageJ reads it: micrometres beside a resolution in centimetres, as Micro-Manager writes, are a name only.
        unit = unit if unit == "cm" and MICROMETRES.get(stated) == 1 else stated
    pixels_per_unit = [page.tags.valueof(f"{axis}Resolution") for axis in "XY"]
    size = None
    if unit in MICROMETRES and all(rational and all(rational) for rational in pixels_per_unit):
        size = credible_size(*(MICROMETRES[unit] * below / above for above, below in pixels_per_unit))
    akoya = re.search(r"<PixelSizeMicrons>\s*(\d*\.?\d+)", page.description) if tiff.is_qpi else None
    return credible_size(float(akoya[1]), float(akoya[1])) if akoya and size is None else size


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

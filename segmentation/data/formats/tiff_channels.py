"""The names of the channels of a TIFF, from OME-XML, ImageJ, Leica's SCN or QPTIFF."""

from collections.abc import Sequence
from xml.etree import ElementTree

import tifffile

from segmentation.data.formats import scn
from segmentation.data.formats.tiff_pixel_size import ome_pixels


def channel_names(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int) -> Sequence[str | None]:
    """Return the names of the channels in OME-XML, ImageJ's labels, SCN or QPTIFF; None for each that has none."""
    names: list[str | None] = []
    if tiff.is_ome:
        names = [child.get("Name") for child in ome_pixels(tiff, series.keyframe) if child.tag.endswith("}Channel")]
    elif tiff.is_imagej:
        labels = (tiff.imagej_metadata or {}).get("Labels") or []
        names = [str(label) or None for label in ([labels] if isinstance(labels, str) else labels)]
    elif tiff.is_scn:
        names = scn.channel_names(tiff, series.keyframe)
    elif tiff.is_qpi:
        names = [_qptiff_name(single.aspage().description) for single in series.pages if single is not None]
    return names if len(names) == count else [None] * count


def _qptiff_name(description: str) -> str | None:
    """Return the name of a channel in the XML that scanners of Akoya and PerkinElmer write."""
    try:
        return ElementTree.fromstring(description).findtext("Name")
    except ElementTree.ParseError:
        return None

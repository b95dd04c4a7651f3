"""Ventana's BIF: what its XML tells of the tiles, which tifffile does not stitch.

Source: https://openslide.org/formats/ventana/
"""

import re
from typing import TYPE_CHECKING

from segmentation.data.formats.decoded import DecodeError

if TYPE_CHECKING:
    import tifffile


def pixel_side(tiff: "tifffile.TiffFile") -> float:
    """Return the side of a pixel in micrometres; 0 where the file does not tell."""
    found = re.search(rb'<iScan\b[^>]*\bScanRes="(\d*\.?\d+)"', _xml(tiff.pages.first))
    return float(found[1]) if found else 0


def check_joints(page: "tifffile.TiffPage") -> None:
    """Refuse a picture whose tiles overlap: what lies at their edges would be there twice."""
    joints = re.findall(rb'<TileJointInfo\b[^>]*\bFlagJoined="1"[^>]*>', _xml(page))
    overlaps = [abs(int(overlap)) for joint in joints for overlap in re.findall(rb'\bOverlap[XY]="(-?\d{1,9})"', joint)]
    if any(overlaps):
        raise DecodeError(
            f"is a BIF whose tiles overlap by up to {max(overlaps)} pixels, where one whole picture was expected: "
            "export it as OME-TIFF, for example from QuPath"
        )


def _xml(page: "tifffile.TiffPage") -> bytes:
    value = page.tags.valueof("XMP", b"")
    return value if isinstance(value, bytes) else b""

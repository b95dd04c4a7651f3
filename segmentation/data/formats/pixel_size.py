"""The sides of a pixel in micrometres."""

import math
from typing import NamedTuple

# What a microscope that shows nuclei can have. Screens and printers (72 to 2,540 dots an inch) have 10 and more.
FINEST_PIXEL_UM, COARSEST_PIXEL_UM = 0.002, 9.0
_LONGEST = 10  # times the other side

MICROMETRES = {
    "nm": 1e-3, "um": 1, "µm": 1, "μm": 1, "micron": 1, "microns": 1, "micrometer": 1, "micrometre": 1,
    "micrometers": 1, "micrometres": 1, "Å": 1e-4, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25_400, "inch": 25_400,
    r"\u00b5m": 1,  # as ImageJ spells µm
    "angstrom": 1e-4, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6,  # as OME-Zarr spells them
}  # fmt: skip


class PixelSize(NamedTuple):
    """The sides of a pixel in micrometres, in the order of the axes of an image."""

    height: float
    width: float

    @property
    def area(self) -> float:
        """Its area in square micrometres."""
        return self.height * self.width

    @property
    def side(self) -> float:
        """The side of the square with the same area, in micrometres."""
        return math.sqrt(self.area)


def credible_size(width_um: float, height_um: float) -> PixelSize | None:
    """Return the size of a pixel with these sides, or None where they cannot be those of a microscope.

    They cannot where one lies outside of `FINEST_PIXEL_UM` to `COARSEST_PIXEL_UM` (the 72 or 96 dots an inch that
    programs write by default do), or is more than ten times the other. Sides that differ by less than 1 % are rounded
    figures of one length: the width.
    """
    shorter, longer = sorted((width_um, height_um))
    if not (FINEST_PIXEL_UM <= shorter <= longer <= COARSEST_PIXEL_UM and longer <= _LONGEST * shorter):
        return None
    is_square = abs(width_um - height_um) <= 0.01 * width_um
    return PixelSize(float(width_um if is_square else height_um), float(width_um))


def size_from_density(per_metre_x: int, per_metre_y: int) -> PixelSize | None:
    """Return the size of a pixel from the pixels in a metre, as PNG and BMP store them, or None."""
    if per_metre_x <= 0 or per_metre_y <= 0:
        return None
    return credible_size(1e6 / per_metre_x, 1e6 / per_metre_y)

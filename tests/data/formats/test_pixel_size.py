"""Pixel sizes written by tifffile in three ways, read back in micrometres."""

import numpy as np
import pytest
import tifffile

from segmentation.data.formats.pixel_size import credible_size
from segmentation.data.images import read_image


def sides(expected):
    """Height and width, of one figure for a square."""
    return (expected, expected) if isinstance(expected, float) else expected


def size(tmp_path, **options):
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((4, 5), np.uint8), **options)
    return read_image(tmp_path / "cells.tif").pixel_size_um


@pytest.mark.parametrize(
    ("x", "y", "unit", "expected"),
    [
        (0.325, 0.325, "µm", 0.325),
        (325, 325, "nm", 0.325),
        (3250, 3250, "Å", 0.325),
        (0.000325, 0.000325, "mm", 0.325),
        (0.325, 0.65, "µm", (0.65, 0.325)),
        (0.325, 0.326, "µm", 0.325),
        (0.325, 3.5, "µm", None),
        (1, 1, "pixel", None),
        (352.8, 352.8, "µm", None),
    ],
)
def test_ome(tmp_path, x, y, unit, expected):
    metadata = {"axes": "YX", "PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}  # fmt: skip # noqa: E501
    assert size(tmp_path, ome=True, metadata=metadata) == (expected and pytest.approx(sides(expected)))


@pytest.mark.parametrize(("state", "expected"), [("on", (0.656, 0.656)), ("off", None)])
def test_metaxpress(tmp_path, state, expected):
    lines = [
        f'<prop id="spatial-calibration-state" type="bool" value="{state}"/>',
        *(f'<prop id="spatial-calibration-{axis}" type="float" value="0.656"/>' for axis in "xy"),
        '<prop id="spatial-calibration-units" type="string" value="um"/>',
    ]
    description = f"<MetaData><PlaneInfo>{''.join(lines)}</PlaneInfo></MetaData>"
    assert size(tmp_path, description=description, metadata=None, software="MetaSeries") == expected


def test_ome_without_size(tmp_path):
    assert size(tmp_path, ome=True, metadata={"axes": "YX"}) is None


@pytest.mark.parametrize("unit", ["um", "micron", "micrometers", "\\u00B5m", "nm", "mm", "inch", "pixel", None])
def test_imagej(tmp_path, unit):
    micrometres = {"nm": 0.001, "mm": 1000, "inch": 25400, "pixel": None, None: None}.get(unit, 1)
    resolution = 4 * (micrometres or 1)
    metadata = {} if unit is None else {"unit": unit}
    found = size(tmp_path, imagej=True, resolution=(resolution, resolution), metadata=metadata)
    assert found == ((0.25, 0.25) if micrometres else None)


@pytest.mark.parametrize(
    ("per_unit", "unit", "expected"),
    [
        (20_000, "centimeter", 0.5),
        (25_400 * 4, "inch", 0.25),
        (72, "inch", None),
        (96, "inch", None),
        (300, "inch", None),
        (1200, "inch", None),
        (28.35, "centimeter", None),
        (20_000, "none", None),
    ],
)
def test_resolution_tags(tmp_path, per_unit, unit, expected):
    assert size(tmp_path, resolution=(per_unit, per_unit), resolutionunit=unit) == sides(expected)


def test_no_tags_and_sides_that_differ(tmp_path):
    assert size(tmp_path) is None
    assert size(tmp_path, resolution=(20_000, 10_000), resolutionunit="centimeter") == (1, 0.5)
    assert size(tmp_path, resolution=((0, 1), (0, 1)), resolutionunit="centimeter") is None


def test_micrometres_beside_centimetres_are_a_name_only(tmp_path):
    """Micro-Manager writes ImageJ's unit um beside a resolution in centimetres; ImageJ multiplies by 10,000, too."""
    file = tmp_path / "stack.tif"
    pixels = np.zeros((8, 8), np.uint16)
    options = {"metadata": None, "resolution": (30769, 30769), "description": "ImageJ=1.51s\nunit=um\n"}
    tifffile.imwrite(file, pixels, resolutionunit="CENTIMETER", **options)
    assert read_image(file).pixel_size_um == pytest.approx((0.325, 0.325), rel=1e-4)
    tifffile.imwrite(file, pixels, resolutionunit=1, **options | {"resolution": (1 / 0.325,) * 2})
    assert read_image(file).pixel_size_um == pytest.approx((0.325, 0.325), rel=1e-4)


@pytest.mark.parametrize("dots", [72, 300, 600, 1200, 2400, 2540])
def test_the_dots_of_screens_and_printers_are_no_pixel_size(tmp_path, dots):
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((8, 8), np.uint8), resolution=(dots, dots), resolutionunit="INCH")
    assert read_image(tmp_path / "cells.tif").pixel_size_um is None


def test_a_size_that_no_microscope_has_is_none():
    assert credible_size(3e-5, 3e-5) is None
    assert credible_size(0.1, float("nan")) is None and credible_size(float("nan"), 0.1) is None
    assert credible_size(0.1, 0.1) == (0.1, 0.1)

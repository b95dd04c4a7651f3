import re
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import regionprops

from segmentation.batch.outputs import Prediction
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import Image
from segmentation.data.pictures import PLACE_KEYS
from segmentation.results.images_csv import COLUMNS, VERDICT, failed_row, image_rows


def row(labels, pixel_size_um=None):
    image = Image(np.zeros((*labels.shape, 1), np.uint8), ("grey",), pixel_size_um and PixelSize(*pixel_size_um))
    (values,) = image_rows(Prediction("a", image, labels, None, "in/a.png", 0.5))
    return dict(zip(COLUMNS, values, strict=True))


def test_the_row_of_an_image_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.permutation(48).reshape(6, 8), np.ones((9, 7), int)) * (rng.random((54, 56)) < 0.7)
    found = row(labels, (0.5, 0.125))
    regions = regionprops(labels)
    diameter = np.median([region.equivalent_diameter_area for region in regions])
    assert (found["image"], found["file"], found["status"], found["reason"]) == ("a", "in/a.png", "done", "")
    assert (found["pixel_height_um"], found["pixel_width_um"]) == ("0.5", "0.125")
    assert (found["height"], found["width"], found["nuclei"], found["scale"]) == ("54", "56", str(len(regions)), "0.5")
    assert float(found["median_diameter"]) == pytest.approx(diameter, rel=1e-6)
    assert float(found["median_diameter_um"]) == pytest.approx(diameter / 4, rel=1e-6)
    assert float(found["foreground_fraction"]) == pytest.approx((labels > 0).mean(), rel=1e-6)


def test_an_image_without_nuclei_or_pixel_size():
    found = row(np.zeros((20, 30), np.int32))
    assert (found["nuclei"], found["foreground_fraction"]) == ("0", "0")
    assert (
        found["median_diameter"]
        == found["median_diameter_um"]
        == found["pixel_height_um"]
        == found["pixel_width_um"]
        == ""
    )
    assert row(np.ones((20, 30), np.int32))["median_diameter_um"] == ""


def test_the_row_of_an_image_that_failed():
    found = dict(zip(COLUMNS, failed_row("a", "in/a.png", "in/a.png is empty"), strict=True))
    assert {name for name, value in found.items() if value} == {"image", "file", "status", "reason"}


def test_the_documentation_explains_every_column():
    text = (Path(__file__).parents[2] / "docs" / "measurements.md").read_text(encoding="utf-8")
    section = text.partition("## images.csv")[2].partition("\n## ")[0]
    explained = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in section.splitlines() if "|" in line))
    assert sorted(explained) == sorted([*COLUMNS, *VERDICT, *PLACE_KEYS])

import numpy as np
import pytest
from scipy import ndimage

from data.draw_samples import draw_fluorescence
from segmentation.data.splits import SplitRow, write_split
from segmentation.exploration import siblings


@pytest.fixture(scope="module")
def tiled(survey_of, tmp_path_factory):
    """A field cut into four tiles, of which the split puts one into test; two images of their own, and a copy."""
    # Without noise, which tiles of one field do not share.
    field = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(256, 256)), 5)
    pixels = np.uint8(255 * (field - field.min()) / np.ptp(field))
    labels = ndimage.label(field > 1.5 * field.std())[0]
    images = {}
    for number, (rows, columns) in enumerate(((0, 0), (0, 128), (128, 0), (128, 128))):
        part = np.s_[rows : rows + 128, columns : columns + 128]
        images[f"tile_{number}"] = pixels[part], labels[part]
    for number in (1, 2):
        images[f"own_{number}"] = draw_fluorescence(np.random.default_rng([8, number]), (128, 128))
    images["copy_of_own_2"] = images["own_2"]
    subsets = dict.fromkeys(images, "train") | {"tile_3": "test", "own_1": "test"}
    file = tmp_path_factory.mktemp("split") / "split.csv"
    write_split({name: SplitRow(subset) for name, subset in subsets.items()}, file)
    return survey_of(images, file)


def test_tiles_of_one_field_are_found(tiled):
    sizes = siblings.field_sizes(tiled).set_axis(tiled.images["id"]).to_dict()
    assert sizes == {"copy_of_own_2": 2, "own_1": 1, "own_2": 2, **{f"tile_{n}": 4 for n in range(4)}}


def test_a_field_on_both_sides_is_named(tiled):
    assert siblings.divided_fields(tiled) == [[f"tile_{number}" for number in range(4)]]
    sentence = siblings.describe(tiled)
    assert sentence.startswith("86 % of the images share a field with others (up to 4 tiles of one)")
    assert sentence.endswith("this split divides 1 field (tile_0, tile_1 …).")


def test_images_of_their_own_are_not_divided(drawn_survey):
    assert siblings.divided_fields(drawn_survey) == []
    sentence = siblings.describe(drawn_survey)
    assert sentence.startswith("Every image shows a field of its own; this split divides no field")


def test_a_near_duplicate_across_the_split_is_said(survey_of, drawn, tmp_path):
    pixels, labels = drawn["drawn_0"]
    write_split({"a": SplitRow("train"), "b": SplitRow("test")}, tmp_path / "split.csv")
    measured = survey_of({"a": (pixels, labels), "b": (np.uint8(pixels * 0.9), labels)}, tmp_path / "split.csv")
    assert siblings.describe(measured).endswith("this split divides 1 field (a, b …).")


def test_siblings_are_drawn(tiled, survey_of, drawn, tmp_path):
    for number, measured in enumerate((tiled, survey_of({"only": drawn["drawn_0"]}))):
        siblings.draw(measured).savefig(tmp_path / f"{number}.png")
    bars = siblings.draw(tiled).axes[0].patches
    assert [bar.get_height() for bar in bars if bar.get_height()] == [1, 2, 4]

"""What the sections say, against numbers known beforehand; and that each stands whatever the data hold."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from skimage.measure import label as connected_components

from segmentation.data.splits import SplitRow
from segmentation.exploration import brightness, counts, foreground, images, kinds, sizes, touching
from segmentation.exploration.style import COLOURS

pytestmark = pytest.mark.slow

SECTIONS = [images, sizes, counts, foreground, brightness, kinds, touching]


@pytest.fixture(scope="module")
def collections(survey_of, drawn, dotted, drawn_survey):
    light, labels = dotted([(40, 40, 10), (40, 61, 10)])
    return {
        "drawn": drawn_survey,
        "one image": survey_of({"only": drawn["drawn_0"]}),
        "no nuclei": survey_of({"one": dotted([]), "two": dotted([], (64, 64))}),
        "light alone": survey_of({"one": (255 - light, labels), "two": (255 - light.T, labels.T)}),
    }


@pytest.mark.parametrize("which", ["drawn", "one image", "no nuclei", "light alone"])
@pytest.mark.parametrize("section", SECTIONS, ids=lambda module: module.__name__.split(".")[-1])
def test_every_section_stands_whatever_the_data_hold(collections, which, section, tmp_path):
    figure = section.draw(collections[which])
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png")
    sentence = section.describe(collections[which])
    assert sentence.endswith(".") and ". " not in sentence and "nan" not in sentence
    assert sentence[0].isupper() or sentence[0].isdigit()


def test_plots_have_titles_and_axes_with_units(drawn_survey):
    for section in SECTIONS[1:]:
        for axes in section.draw(drawn_survey).axes:
            title = axes.get_title() or axes.get_title(loc="left")
            assert title and (axes.get_ylabel() or axes.get_yticklabels()), section.__name__


def test_a_kind_has_one_colour_everywhere(drawn_survey):
    for section in (sizes, counts, foreground, touching):
        handles, labels = section.draw(drawn_survey).axes[0].get_legend_handles_labels()
        for handle, name in zip(handles, labels, strict=True):
            kind = name.split(" (")[0]
            if kind in COLOURS:
                patch = handle if isinstance(handle, Rectangle) else handle[0]
                assert (
                    to_hex(patch.get_edgecolor() if not patch.fill else patch.get_facecolor()).upper() == COLOURS[kind]
                )


def test_gallery_counts_images_and_nuclei(drawn_survey, drawn):
    total = sum(len(np.unique(labels)) - 1 for _, labels in drawn.values())
    sentence = images.describe(drawn_survey)
    assert f"9 images with {total} nuclei: 6 fluorescence (67 %" in sentence and "3 stained (33 %" in sentence


def test_the_gallery_is_spread_from_small_nuclei_to_large(drawn_survey):
    diameters = drawn_survey.images["diameter"]
    chosen = images.spread(drawn_survey, "fluorescence", 4)
    assert len(set(chosen)) == 4 and np.all(np.diff(diameters[chosen]) >= 0)
    own = diameters[drawn_survey.images["kind"] == "fluorescence"]
    assert (diameters[chosen[0]], diameters[chosen[-1]]) == (own.min(), own.max())
    assert len(images.spread(drawn_survey, "stained", 10)) == 3
    assert images.typical(drawn_survey, "stained") == images.spread(drawn_survey, "stained", 3)[1]


def test_sizes(drawn_survey):
    table = sizes.image_sizes(drawn_survey)
    assert table.sum(axis=1).to_dict() == {(96, 96): 5, (160, 128): 4}
    assert table["stained"].to_dict() == {(96, 96): 2, (160, 128): 1}
    sentence = sizes.describe(drawn_survey)
    assert sentence.startswith(
        "2 sizes from 96 × 96 to 160 × 128 pixels, 2.2 times the area; 56 % of the images have 96 × 96"
    )


def test_the_most_frequent_of_many_sizes_are_drawn(survey_of, dotted):
    measured = survey_of({f"image_{side}": dotted([(20, 20, 8)], (64, side)) for side in range(64, 80)})
    axes = sizes.draw(measured).axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [f"{side} × 64" for side in range(64, 76)] and axes.get_title(loc="left").endswith("(12 of 16)")


def test_counts(survey_of, dotted):
    whole = [(30, 30, 8), (30, 60, 8), (60, 30, 8)]
    measured = survey_of({"one": dotted(whole), "two": dotted([*whole, (0, 100, 12)])})
    sentence = counts.describe(measured)
    assert sentence.startswith("7 nuclei, 3 to 4 in an image (median 4)")
    # A disk of radius 8 on a grid has 197 pixels.
    assert "median 16" in sentence and "the edge cuts 14.3 %" in sentence


def test_foreground_share(survey_of):
    labels = np.zeros((100, 100), int)
    labels[20:60, 20:45] = 1
    measured = survey_of({"one": (np.uint8(10 + 100 * labels), labels)})
    sentence = foreground.describe(measured)
    assert sentence.startswith("On average 10.0 % of an image is foreground")
    assert "90 % of the pixels right" in sentence and "a cross-entropy of 0.33 where it began at 0.69" in sentence


def test_brightness(survey_of, dotted):
    disks = [(40, 40, 10), (90, 90, 10)]
    pixels, labels = dotted(disks)
    dim = np.where(labels > 0, 20, 2).astype(np.uint8)
    measured = survey_of({"dim": (dim, labels), "bright": (pixels, labels)})
    sentence = brightness.describe(measured)
    assert "50 % of these images look black" in sentence and "0 % of all images are coloured" in sentence


def test_sampling_shares_are_those_that_training_draws(drawn_survey):
    from segmentation.training.sequence import NucleiSequence

    ids = drawn_survey.images["id"][drawn_survey.rows("train")]
    cached = drawn_survey.cached.select({i: SplitRow("train") for i in ids})
    batches = NucleiSequence(cached, "centre_offsets", batch_size=8, crop_size=32)
    drawn = np.concatenate([batches.batches.draw_epoch(epoch) for epoch in range(40)])
    own = np.array(cached.kinds)
    for kind, share, expected in kinds.kind_shares(drawn_survey).itertuples():
        assert share == pytest.approx((own == kind).mean())
        assert (own[drawn] == kind).mean() == pytest.approx(expected, abs=0.01)


def test_touching(survey_of, dotted):
    apart = dotted([(30, 30, 10), (90, 90, 10)])
    close = dotted([(30, 30, 10), (30, 50, 10), (90, 90, 10), (90, 20, 10), (60, 110, 5)])
    measured = survey_of({"apart": apart, "close": close})
    assert measured.images["touching"].tolist() == [0, 0.4]
    objects = sum(connected_components(labels > 0, connectivity=2).max() for _, labels in (apart, close))
    sentence = touching.describe(measured)
    assert sentence.startswith("29 % of the nuclei touch another (40 % in close)")
    assert f"would find {objects} for 7 nuclei (14.3 % too few)" in sentence
    assert touching.describe(survey_of({"apart": apart})).startswith("No nucleus touches another")


def test_evenly():
    assert images.evenly([3, 4, 5], 5) == [3, 4, 5]
    assert images.evenly(list(range(101)), 3) == [0, 50, 100]
    assert images.evenly([], 3) == []

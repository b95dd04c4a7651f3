import numpy as np
import pytest
from skimage.measure import label as connected_components
from skimage.measure import regionprops

from segmentation.exploration.survey import full_scale


def test_every_image_is_measured(drawn_survey, drawn):
    images = drawn_survey.images
    assert {len(column) for column in images.values()} == {9}
    for index, (pixels, labels) in enumerate(drawn.values()):
        assert (images["height"][index], images["width"][index]) == labels.shape
        assert images["nuclei"][index] == len(np.unique(labels)) - 1
        assert images["objects"][index] == connected_components(labels > 0, connectivity=2).max()
        assert images["foreground"][index] == pytest.approx((labels > 0).mean())
        grey = np.atleast_3d(pixels).mean(axis=-1) / 255
        assert images["background"][index] == pytest.approx(np.median(grey[labels == 0]), abs=1e-6)
        assert images["brightness"][index] == pytest.approx(np.median(grey[labels > 0]), abs=1e-6)
        expected = np.broadcast_to(np.atleast_3d(pixels)[labels > 0].mean(axis=0) / 255, 3)
        assert images["nuclei_colour"][index] == pytest.approx(expected, abs=1e-5)
    assert drawn_survey.kinds == ["fluorescence", "stained"]
    assert (images["level"][images["kind"] == "stained"] > 0.5).all()
    assert (images["level"][images["kind"] == "fluorescence"] < 0.5).all()
    assert images["chroma"][0] == 0


def test_every_nucleus_is_measured(drawn_survey, drawn):
    nuclei = drawn_survey.nuclei
    start = 0
    for index, (_, labels) in enumerate(drawn.values()):
        props = regionprops(labels.astype(int))
        rows = slice(start, start + len(props))
        assert (nuclei["image"][rows] == index).all()
        assert nuclei["label"][rows].tolist() == [prop.label for prop in props]
        assert nuclei["area"][rows].tolist() == [prop.area for prop in props]
        assert nuclei["diameter"][rows] == pytest.approx([prop.equivalent_diameter_area for prop in props])
        start += len(props)
        whole = nuclei["diameter"][rows][~nuclei["touches_edge"][rows]]
        assert drawn_survey.images["diameter"][index] == pytest.approx(np.median(whole))
    assert {len(column) for column in nuclei.values()} == {start}
    # Nuclei are bright on dark or dark on light.
    bright = drawn_survey.images["kind"][nuclei["image"]] == "fluorescence"
    assert np.median(nuclei["contrast"][bright]) > 0 > np.median(nuclei["contrast"][~bright])


def test_an_image_without_nuclei_is_an_image(survey_of, dotted):
    measured = survey_of({"empty": dotted([]), "one": dotted([(40, 40, 10)])})
    assert measured.images["nuclei"].tolist() == [0, 1]
    assert measured.images["foreground"][0] == 0
    assert np.isnan(measured.images["diameter"][0]) and np.isnan(measured.images["brightness"][0])
    assert measured.nuclei["image"].tolist() == [1]


def test_intensities_are_shares_of_what_the_integers_can_hold(survey_of, dotted):
    pixels, labels = dotted([(40, 40, 10), (90, 90, 12)])
    deep = pixels.astype(np.uint16) * 64
    measured = survey_of({"8_bit": (pixels, labels), "16_bit": (deep, labels)})
    assert measured.images["brightness"] == pytest.approx([200 * 64 / 65535, 200 / 255])
    assert measured.images["background"] == pytest.approx([20 * 64 / 65535, 20 / 255])
    assert full_scale(np.array([0.5, 3.0], np.float32)) == 3.0

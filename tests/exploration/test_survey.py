import numpy as np
import pytest
from skimage.measure import label as connected_components
from skimage.measure import regionprops

from segmentation.exploration.survey import full_scale


def cielab(pixels):
    """Median lightness and mean chroma by the definition of CIELAB (CIE 15:2004) for sRGB (IEC 61966-2-1) under D65."""
    linear = pixels / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
    ratio = linear @ matrix.T / [0.95047, 1, 1.08883]
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / 3 * (29 / 6) ** 2 + 4 / 29)
    a, b = 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])
    return np.median(116 * f[..., 1] - 16), np.hypot(a, b).mean()


def test_every_image_is_measured(drawn_survey, drawn):
    images = drawn_survey.images
    assert len(images) == 9 and images["id"].tolist() == list(drawn)
    for index, (pixels, labels) in enumerate(drawn.values()):
        assert (images["height"][index], images["width"][index]) == labels.shape
        assert images["nuclei"][index] == len(np.unique(labels)) - 1
        assert images["objects"][index] == connected_components(labels > 0, connectivity=2).max()
        assert images["foreground"][index] == pytest.approx((labels > 0).mean())
        grey = np.atleast_3d(pixels).mean(axis=-1) / 255
        assert images["background"][index] == pytest.approx(np.median(grey[labels == 0]), abs=1e-6)
        assert images["brightness"][index] == pytest.approx(np.median(grey[labels > 0]), abs=1e-6)
        assert images["lightness"][index] == pytest.approx(cielab(drawn_survey.cached.pixels(index))[0], abs=0.01)
        assert images["chroma"][index] == pytest.approx(cielab(drawn_survey.cached.pixels(index))[1], abs=0.01)
    assert drawn_survey.kinds == ["fluorescence", "stained"]
    assert (images["lightness"][images["kind"] == "stained"] > 50).all()
    assert (images["lightness"][images["kind"] == "fluorescence"] < 50).all()
    assert images["chroma"][0] == pytest.approx(0, abs=0.01)


def test_every_nucleus_is_measured(drawn_survey, drawn):
    nuclei, images = drawn_survey.nuclei, drawn_survey.images
    start = 0
    for index, (_, labels) in enumerate(drawn.values()):
        props = regionprops(labels.astype(int))
        rows = nuclei.index[start : start + len(props)]
        assert (nuclei["image"][rows] == index).all() and (nuclei["kind"][rows] == images["kind"][index]).all()
        assert nuclei["label"][rows].tolist() == [prop.label for prop in props]
        assert nuclei["area"][rows].tolist() == [prop.area for prop in props]
        assert nuclei["diameter"][rows].tolist() == pytest.approx([prop.equivalent_diameter_area for prop in props])
        start += len(props)
        whole = nuclei["diameter"][rows][~nuclei["touches_edge"][rows]]
        assert drawn_survey.images["diameter"][index] == pytest.approx(np.median(whole))
    assert len(nuclei) == start
    # Nuclei are bright on dark or dark on light.
    bright = nuclei["kind"] == "fluorescence"
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
    assert measured.images["brightness"].tolist() == pytest.approx([200 * 64 / 65535, 200 / 255])
    assert measured.images["background"].tolist() == pytest.approx([20 * 64 / 65535, 20 / 255])
    assert full_scale(np.array([0.5, 3.0], np.float32)) == 3.0

"""The options --diameter, --pixel-size, --normalise and --tta of predict_masks.py, from the command line to files."""

import csv
import json
import sys

import cv2
import numpy as np
import pytest

import predict_masks
from segmentation.data.images import read_image
from segmentation.data.label_maps import read_label_map
from tests.prediction.tiny_model import write_tiny_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """It takes whatever is bright for nuclei of 16 pixels, and knows nuclei of 40: so it asks for a scale of 5/2."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_bundle(folder, diameter=40.0)
    return folder


@pytest.fixture
def predict(tmp_path, model, monkeypatch):
    image = np.full((48, 56), 10, np.uint8)
    image[10:26, 12:30] = 200
    cv2.imwrite(str(tmp_path / "cell.png"), image)

    def predict(*options):
        command = [tmp_path / "cell.png", "--model", model, "--output", tmp_path / "out", *options]
        monkeypatch.setattr(sys, "argv", ["predict_masks.py", *map(str, command)])
        status = predict_masks.main()
        file = tmp_path / "out" / "summary.json"
        return status, json.loads(file.read_text()) if file.exists() else None, tmp_path / "out"

    return predict


def test_by_default_the_summary_says_how_large_the_nuclei_are_and_what_was_done(predict):
    status, summary, out = predict()
    assert status == 0
    assert summary["settings"]["diameter"] == "auto"
    found = summary["diameters"]["cell"]
    # Each pass of this network finds 16 pixels again, at the largest of scales.
    assert found["scale"] == 4 and 2 < found["diameter"] < 17
    labels = read_label_map(out / "labels" / "cell.tif")
    assert labels.shape == (48, 56)
    assert abs(np.count_nonzero(labels) - 16 * 18) < 60
    again = predict()[1]
    assert again["images"]["skipped"] == 1 and again["diameters"] == summary["diameters"]


def test_other_options_do_the_image_again(predict):
    ways = [(), ("--diameter", "none"), ("--diameter", "20"), ("--diameter", "20", "--tta"), ("--pixel-size", "0.5")]
    for way in ways:
        summary = predict("--outputs", "labels", *way)[1]
        assert summary["images"]["done"] == 1, way
        assert predict("--outputs", "labels", *way)[1]["images"]["skipped"] == 1
        assert bool(summary["diameters"]) == ("--diameter" not in way)


def test_common_limits_are_those_of_all_images_of_the_call(model, tmp_path):
    (tmp_path / "in").mkdir()
    pictures = [np.full((48, 56), 10, np.uint8) for _ in range(2)]
    for number, picture in enumerate(pictures):
        picture[10:26, 12:30] = (200, 255)[number]
        cv2.imwrite(str(tmp_path / "in" / f"cell{number}.png"), picture)

    def settings(status, *options):
        command = [tmp_path / "in", "--model", model, "--output", tmp_path / "out", "--outputs", "labels", *options]
        assert predict_masks.main(list(map(str, command))) == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["images"][status] == 2
        return summary["settings"]

    assert "limits" not in settings("done")
    expected = np.percentile(pictures, (1, 99.9), method="inverted_cdf").tolist()
    assert settings("done", "--normalise", "folder")["limits"] == expected == [10, 255]
    assert settings("skipped", "--normalise", "folder")["limits"] == expected


def test_the_pixel_size_is_that_of_the_measurements_and_of_the_files(predict):
    _, summary, out = predict("--pixel-size", "0.25", "--diameter", "none", "--outputs", "labels", "table")
    assert summary["settings"]["pixel_size_um"] == 0.25
    for row in csv.DictReader((out / "nuclei.csv").open()):
        assert float(row["area_um2"]) == pytest.approx(int(row["area"]) / 16)
    assert summary["nuclei"] > 0
    assert read_image(out / "labels" / "cell.tif").pixel_size_um == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--diameter", "9"), "takes nuclear diameters from 10.0 to 640.0 pixels, got 9"),
        (("--diameter", "wide"), "expected a number of pixels, auto or none, got 'wide'"),
        (("--diameter", "-3"), "expected a number of pixels, auto or none, got '-3'"),
        (("--diameter", "nan"), "expected a number of pixels, auto or none, got 'nan'"),
        (("--pixel-size", "0"), "expected a number of micrometres, got '0'"),
        (("--pixel-size", "inf"), "expected a number of micrometres, got 'inf'"),
    ],
)
def test_what_makes_no_sense_is_refused(predict, capsys, options, complaint):
    try:
        status = predict(*options)[0]
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert complaint in capsys.readouterr().err

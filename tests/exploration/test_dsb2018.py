"""The survey of the Bowl's images against counts that share no code with it: file names, and OpenCV's decoder."""

import zipfile
from collections import defaultdict

import cv2
import numpy as np
import pytest

from segmentation.exploration import images, touching
from segmentation.exploration.survey import open_survey


@pytest.fixture(scope="module")
def counted(dsb2018):
    """For each image its size, its number of mask files, and the share of pixels in any of them."""
    counts = {}
    with zipfile.ZipFile(dsb2018 / "stage1_train.zip") as archive:
        masks = defaultdict(list)
        for name in archive.namelist():
            if name.endswith(".png") and "/masks/" in name:
                masks[name.split("/")[-3]].append(name)
        for sample_id, names in masks.items():
            union = False
            for name in names:
                pixels = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
                union = union | (pixels > 0)
            counts[sample_id] = union.shape, len(names), union.mean()
    return counts


@pytest.fixture(scope="module")
def surveyed(dsb2018, tmp_path_factory):
    return open_survey(dsb2018 / "stage1_train.zip", cache_folder=tmp_path_factory.mktemp("cache"))


def test_images_nuclei_and_foreground_are_those_of_independent_counts(surveyed, counted):
    table = surveyed.images
    ids = table["id"].tolist()
    assert len(counted) == 664 and sum(number for _, number, _ in counted.values()) == 28_986
    assert sorted(ids) == sorted(counted)
    assert table["nuclei"].tolist() == [counted[sample_id][1] for sample_id in ids]
    assert table["foreground"].to_numpy() == pytest.approx(np.array([counted[sample_id][2] for sample_id in ids]))
    assert [*zip(table["height"], table["width"], strict=True)] == [counted[sample_id][0] for sample_id in ids]
    assert table["foreground"].mean() == pytest.approx(0.139, abs=0.0005)
    assert len(surveyed.nuclei) == 28_986


def test_the_split_of_the_bowl_is_taken_by_itself(surveyed):
    assert images.describe(surveyed).endswith("split into 493 train, 68 val and 103 test (from dsb2018_split.csv).")
    assert surveyed.images["group"].nunique() == 307


def test_touching_nuclei_are_fewer_objects(surveyed):
    assert surveyed.images["objects"].sum() < 28_986
    assert "for 28,986 nuclei" in touching.describe(surveyed)

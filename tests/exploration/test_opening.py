from pathlib import Path

import numpy as np
import pytest

from segmentation.data.problems import DatasetError
from segmentation.data.splits import SplitRow, read_split, write_split
from segmentation.exploration import survey as module
from segmentation.exploration.survey import NO_SUBSET, open_survey

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def test_folders_named_as_subsets_are_the_subsets(tmp_path):
    found = open_survey(SAMPLE, cache_folder=tmp_path)
    assert found.images["subset"].tolist() == ["test"] * 8 + ["train"] * 24
    # Both folders hold a stained_03.
    assert {"train/stained_03", "test/stained_03"} <= set(found.images["id"])
    assert [sample.id for sample in found.samples] == found.images["id"].tolist() == found.cached.ids
    assert found.split_origin == "the folders of the data set"
    for index, sample in enumerate(found.samples):
        assert np.array_equal(sample.read_labels(found.cached.label_map(index).shape), found.cached.label_map(index))


def test_a_split_is_drawn_where_none_is_given(survey_of, drawn):
    found = survey_of(drawn)
    assert set(found.images["subset"]) == {"train", "val", "test"}
    assert "draw" in found.split_origin


def test_a_split_that_is_given_decides(survey_of, drawn, tmp_path):
    rows = {stem: SplitRow("test", "smear", "one") for stem in list(drawn)[:2]}
    rows |= {stem: SplitRow("train") for stem in list(drawn)[2:8]}
    write_split(rows, tmp_path / "split.csv")
    found = survey_of(drawn, tmp_path / "split.csv")
    assert found.images["subset"].tolist() == ["test"] * 2 + ["train"] * 6 + [NO_SUBSET]
    assert found.images["kind"].tolist()[:4] == ["smear", "smear", "stained", "fluorescence"]
    assert found.images["group"].tolist()[:2] == ["one", "one"] and found.images["group"].nunique() == 8
    assert found.samples[0].kind == "smear"
    assert found.rows("test") == [0, 1]
    assert found.rows("val") == list(range(9))


def test_a_known_split_is_taken_where_it_names_the_images(survey_of, drawn, tmp_path, monkeypatch):
    rows = {stem: SplitRow("val" if number else "train") for number, stem in enumerate(drawn)}
    write_split(rows, tmp_path / "known.csv")
    monkeypatch.setattr(module, "KNOWN_SPLITS", (tmp_path / "known.csv",))
    assert survey_of(drawn).images["subset"].tolist() == ["train"] + ["val"] * 8
    assert survey_of(drawn).split_origin == "known.csv"
    write_split({stem: row for stem, row in list(rows.items())[:4]}, tmp_path / "known.csv")
    assert survey_of(drawn).split_origin != "known.csv"


def test_the_split_of_the_bowl_is_known():
    (file,) = module.KNOWN_SPLITS
    assert len(read_split(file)) == 664


def test_a_split_of_other_images_is_refused(survey_of, drawn, tmp_path):
    write_split({"another": SplitRow("train")}, tmp_path / "split.csv")
    with pytest.raises(DatasetError, match="names none of the 9 images"):
        survey_of(drawn, tmp_path / "split.csv")


def test_one_image_can_be_looked_at(survey_of, drawn):
    found = survey_of({"only": drawn["drawn_0"]})
    assert found.images["subset"].tolist() == [NO_SUBSET]
    assert found.rows("test") == [0]


def test_what_cannot_be_used_is_named(write_images, drawn, tmp_path):
    write_images(tmp_path / "data", drawn)
    (tmp_path / "data" / "images" / "drawn_0.png").write_bytes(b"no picture")
    found = open_survey(tmp_path / "data", cache_folder=tmp_path / "cache")
    assert len(found.samples) == len(found.images) == 8
    assert any(problem.sample_id == "drawn_0" and problem.fatal for problem in found.problems)


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        open_survey(tmp_path / "nowhere", cache_folder=tmp_path / "cache")

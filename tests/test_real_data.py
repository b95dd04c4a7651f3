"""On real images: stage1_train.zip (the corrected set) and split.csv."""

from collections import Counter

import pytest

from segmentation.bundle import load_bundle
from segmentation.data.cache import prepare
from segmentation.data.layouts import find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.data.splits import SplitRow, read_split, write_split
from segmentation.data.training_data import load_training_data


@pytest.fixture(scope="module")
def archive(dsb2018):
    return dsb2018 / "stage1_train.zip"


@pytest.fixture(scope="module")
def split_file(dsb2018):
    return dsb2018 / "split.csv"


@pytest.fixture(scope="module")
def split(split_file):
    return read_split(split_file)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def prepared(archive, cache):
    """The whole zip, decoded once for all tests."""
    return prepare(find_data_set(archive), Normalisation(), cache)


def a_few(split, subset, kind, count):
    """The first images of a kind, each of another field."""
    first_of_group = {}
    for sample_id, row in sorted(split.items()):
        if (row.subset, row.kind) == (subset, kind):
            first_of_group.setdefault(row.group, sample_id)
    return list(first_of_group.values())[:count]


def test_every_image_and_every_nucleus_is_found(prepared):
    images = prepared.images
    assert len(images) == 664
    assert sum(int(images.label_map(index).max()) for index in range(664)) == 28_986
    assert not [str(problem) for problem in prepared.problems if problem.fatal]


def test_kinds_are_recognised(prepared, split):
    # The split names the kinds as someone looked them up: 541 fluorescence, 107 stained, 16 smears.
    found = dict(zip(prepared.images.ids, prepared.images.kinds, strict=True))
    assert found == {sample_id: row.kind for sample_id, row in split.items()}
    assert Counter(found.values()) == {"fluorescence": 541, "stained": 107, "smear": 16}


def test_the_whole_split_can_be_trained_on(prepared, archive, split_file, split, cache):
    subsets = load_training_data(archive, split_file, seed=0, skip_bad=False, cache_folder=cache)
    assert (len(subsets.train), len(subsets.val), len(subsets.split)) == (493, 68, 664)
    assert subsets.digest == prepared.digest
    assert subsets.split == split


def test_a_minute_of_training_learns(archive, split, tmp_path, monkeypatch):
    import train
    from segmentation.training.resume import read_state

    chosen = {
        sample_id: SplitRow(subset, split[sample_id].kind, split[sample_id].group)
        for subset, kind, count in (
            ("train", "fluorescence", 9),
            ("train", "stained", 3),
            ("val", "fluorescence", 4),
            ("val", "stained", 2),
        )
        for sample_id in a_few(split, subset, kind, count)
    }
    write_split(chosen, tmp_path / "few.csv")
    monkeypatch.setattr(train, "data_folder", lambda: tmp_path)  # for the cache
    settings = "--base-filters 16 --crop-size 128 --epochs 25 --patience 25".split()
    data = ["--data", str(archive), "--split", str(tmp_path / "few.csv"), "--output", str(tmp_path / "model")]
    assert train.main(data + settings) == 0
    assert load_bundle(tmp_path / "model").training["images"] == {"train": 12, "val": 6}
    history = read_state(tmp_path / "model" / "checkpoint")["history"]
    best = min(history, key=lambda row: row["val_loss"])
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert best["val_loss"] < 0.7 * history[0]["val_loss"]
    assert best["val_crop_dice"] > 0.7 and best["val_crop_dice"] > history[0]["val_crop_dice"] + 0.1

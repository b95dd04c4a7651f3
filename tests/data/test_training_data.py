import numpy as np
import pytest

from segmentation.data.fingerprints import fingerprint
from segmentation.data.problems import DatasetError
from segmentation.data.splits import SplitRow, read_split
from segmentation.data.training_data import load_training_data, without_leaks


@pytest.fixture
def folder(tmp_path, write_drawn):
    """Nine drawn images."""
    write_drawn(tmp_path / "data", 9)
    return tmp_path / "data"


@pytest.fixture
def load(tmp_path):
    def load(path, split=None, seed=0, skip_bad=False):
        return load_training_data(path, split, seed=seed, skip_bad=skip_bad, cache_folder=tmp_path / "cache")

    return load


@pytest.fixture
def write_split(tmp_path):
    """Write {id: subset} or {id: (subset, kind, group)} as a split."""

    def write(rows):
        lines = ["id,subset,kind,group"]
        for sample_id, row in rows.items():
            lines.append(",".join([sample_id, *([row, "", ""] if isinstance(row, str) else row)]))
        (tmp_path / "split.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "split.csv"

    return write


def named(*numbers):
    return [f"drawn_{number:02d}" for number in numbers]


def spoil(folder, write_picture):
    (folder / "images" / "drawn_00.png").write_bytes(b"not a picture")
    (folder / "masks" / "drawn_04.png").unlink()
    write_picture(folder / "masks" / "drawn_07.png", np.ones((5, 5), np.uint16))


def test_split_decides_and_names_kind_and_group(folder, load, write_split):
    rows = dict.fromkeys(named(0, 1, 2, 3, 4), "train") | dict.fromkeys(named(5, 6), ("val", "smear", "f"))
    subsets = load(folder, write_split(rows | {"drawn_07": "test"}))
    assert subsets.train.ids == named(0, 1, 2, 3, 4)
    assert subsets.val.ids == named(5, 6)
    assert subsets.val.kinds == ["smear"] * 2 and subsets.val.groups == ["f"] * 2
    assert set(subsets.train.kinds) == {"fluorescence", "stained"}
    assert "drawn_08" in subsets.warnings and "not in the split" in subsets.warnings
    assert subsets.split.keys() == set(named(*range(8)))


def test_drawn_split_is_that_of_its_seed(folder, load):
    first, again, other = load(folder, seed=4), load(folder, seed=4), load(folder, seed=5)
    assert first.split == again.split and first.train.ids == again.train.ids
    assert first.split != other.split
    subsets = [row.subset for row in first.split.values()]
    assert len(subsets) == 9 and set(subsets) == {"train", "val", "test"}
    # Both kinds are in train and in val.
    assert set(first.train.kinds) == set(first.val.kinds) == {"fluorescence", "stained"}
    assert not set(first.train.ids) & set(first.val.ids)
    assert first.digest == other.digest


def test_folders_named_train_and_test_are_the_split(tmp_path, load, write_drawn):
    write_drawn(tmp_path / "d" / "train", 12)
    write_drawn(tmp_path / "d" / "test", 3, seed=1)
    data = load(tmp_path / "d")
    subsets = {name: {i for i, row in data.split.items() if row.subset == name} for name in ("train", "val", "test")}
    assert subsets["test"] == {"test_drawn_00", "test_drawn_01", "test_drawn_02"}
    assert subsets["train"] == set(data.train.ids) and subsets["val"] == set(data.val.ids)
    assert len(subsets["train"] | subsets["val"]) == 12 and 1 <= len(subsets["val"]) <= 3
    assert load(tmp_path / "d").split == data.split != load(tmp_path / "d", seed=1).split
    write_drawn(tmp_path / "d" / "val", 2, seed=2)
    assert load(tmp_path / "d").val.ids == ["val_drawn_00", "val_drawn_01"]
    assert len(load(tmp_path / "d").train) == 12


def test_all_fatal_problems_are_listed_at_once(folder, load, write_picture):
    spoil(folder, write_picture)
    with pytest.raises(DatasetError) as refusal:
        load(folder)
    message = str(refusal.value)
    for name in ("drawn_00.png", "drawn_04.png", "drawn_07.png", "--skip-bad", "unreadable image", "size of mask"):
        assert name in message
    assert message.startswith(f"{folder} cannot be trained on as it is")


def test_skipping_bad_samples_leaves_them_out_and_says_so(folder, load, write_picture):
    spoil(folder, write_picture)
    subsets = load(folder, skip_bad=True)
    assert subsets.split.keys() == set(named(1, 2, 3, 5, 6, 8))
    assert "drawn_07.png" in subsets.warnings
    # A split that was drawn for the usable samples cannot be blamed for leaving out the others.
    assert "not in the split" not in subsets.warnings


def test_bad_samples_of_a_given_split_are_left_out(folder, load, write_picture, write_split):
    spoil(folder, write_picture)
    split = write_split(dict.fromkeys(named(*range(5)), "train") | dict.fromkeys(named(5, 6, 7, 8), "val"))
    with pytest.raises(DatasetError, match="cannot be trained on"):
        load(folder, split)
    subsets = load(folder, split, skip_bad=True)
    assert subsets.train.ids == named(1, 2, 3) and subsets.val.ids == named(5, 6, 8)


def test_warnings_alone_do_not_stop_a_training(folder, load, write_picture):
    write_picture(folder / "masks" / "drawn_03.png", np.zeros((96, 96), np.uint16))
    subsets = load(folder)
    assert "no nuclei" in subsets.warnings and len(subsets.split) == 9


def test_clean_data_are_not_warned_of(folder, load):
    assert load(folder).warnings == ""


def test_the_same_picture_on_both_sides_is_fatal_and_leaves_train(folder, load, write_split):
    (folder / "images" / "drawn_01.png").write_bytes((folder / "images" / "drawn_06.png").read_bytes())
    split = write_split(
        dict.fromkeys(named(0, 1, 2, 3), "train") | dict.fromkeys(named(4, 5, 6), "val") | {"drawn_07": "test"}
    )
    with pytest.raises(DatasetError, match="the same picture on both sides of the split"):
        load(folder, split)
    subsets = load(folder, split, skip_bad=True)
    assert subsets.train.ids == named(0, 2, 3)
    assert subsets.val.ids == named(4, 5, 6)


def test_tiles_of_one_field_on_both_sides_are_fatal_and_leave_train(folder, load, write_split):
    split = write_split(
        {"drawn_00": ("train", "", "one"), "drawn_01": ("train", "", "two"), "drawn_02": ("train", "", "")}
        | {"drawn_03": ("val", "", "one"), "drawn_04": ("val", "", "three"), "drawn_05": ("test", "", "three")}
    )
    with pytest.raises(DatasetError, match="tiles of one field on both sides"):
        load(folder, split)
    subsets = load(folder, split, skip_bad=True)
    assert subsets.train.ids == named(1, 2)
    assert subsets.val.ids == named(3)  # what the test subset shows is not chosen by


def test_drawn_split_keeps_copies_together(folder, load):
    (folder / "images" / "drawn_01.png").write_bytes((folder / "images" / "drawn_06.png").read_bytes())
    for seed in range(5):
        split = load(folder, seed=seed).split
        assert split["drawn_01"].subset == split["drawn_06"].subset
        assert split["drawn_01"].group == split["drawn_06"].group


@pytest.mark.parametrize("subset", ["train", "val"])
def test_a_subset_without_usable_samples_is_refused(folder, load, write_split, subset):
    other = {"train": "val", "val": "train"}[subset]
    split = write_split({"drawn_00": subset} | dict.fromkeys(named(1, 2, 3), other))
    (folder / "images" / "drawn_00.png").write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match=f"split.csv: no usable sample is in the subset '{subset}'"):
        load(folder, split, skip_bad=True)


def test_split_of_other_data_is_refused(folder, load, write_split):
    with pytest.raises(DatasetError, match="subset without a sample"):
        load(folder, write_split({"someone": "train", "else": "val"}))


def test_leaks_are_judged_from_test_to_val_to_train():
    rng = np.random.default_rng(0)
    pictures = {name: fingerprint(rng.integers(256, size=(40, 40, 1), dtype=np.uint8)) for name in "abcdef"}
    pictures |= {"b": pictures["a"], "d": pictures["c"]}
    split = {
        "a": SplitRow("test", group="1"),
        "b": SplitRow("val"),  # the picture of a
        "c": SplitRow("val", group="2"),
        "d": SplitRow("train"),  # the picture of c
        "e": SplitRow("train", group="1"),  # the field of a
        "f": SplitRow("train", group="3"),
    }
    assert without_leaks(split, pictures) == {name: split[name] for name in "acf"}


def test_siblings_within_a_subset_stay():
    rng = np.random.default_rng(0)
    same = fingerprint(rng.integers(256, size=(40, 40, 1), dtype=np.uint8))
    split = {"a": SplitRow("train", group="1"), "b": SplitRow("train", group="1")}
    assert without_leaks(split, {"a": same, "b": same}) == split


def test_a_bad_split_is_named_with_its_line(folder, load, write_split):
    split = write_split({"drawn_00": "train", "drawn_01": "training"})
    with pytest.raises(DatasetError, match=r"split.csv, line 3: the subset is 'training'"):
        load(folder, split)
    assert len(read_split(write_split({"drawn_00": "train"}))) == 1


def test_a_data_set_without_one_nucleus_is_refused(tmp_path, write_pairs, load, nuclei):
    root = write_pairs(tmp_path / "empty", dict.fromkeys("abcdefgh", np.zeros_like(nuclei)))
    with pytest.raises(DatasetError, match="empty has no nuclei in any of its 8 images"):
        load(root)

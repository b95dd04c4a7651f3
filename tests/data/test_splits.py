from collections import Counter, defaultdict

import pytest

from segmentation.data.problems import DatasetError
from segmentation.data.splits import SUBSETS, SplitRow, draw_split, read_split, write_split


def counts(split):
    return Counter((row.kind, row.subset) for row in split.values())


@pytest.fixture
def table():
    """Kinds and groups of 300 images: groups of 1 to 8, a kind of 20 images, one of 4 groups, one of 2."""
    kinds, groups = {}, {}
    for kind, sizes in (
        ("common", [1, 1, 2, 4, 8] * 16),
        ("rare", [1] * 20),
        ("scarce", [3, 3, 1, 2]),
        ("two", [2, 1]),
    ):
        for group, size in enumerate(sizes):
            for member in range(size):
                sample_id = f"{kind[0]}{group}-{member}"
                kinds[sample_id], groups[sample_id] = kind, f"{kind}{group}"
    return kinds, groups


def test_written_splits_are_read_back(tmp_path):
    split = {"b": SplitRow("train", "stained", "7"), "a,1": SplitRow("val"), "ü": SplitRow("test", None, "x")}
    write_split(split, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv") == split
    assert list(read_split(tmp_path / "split.csv")) == sorted(split)
    assert [file.name for file in tmp_path.iterdir()] == ["split.csv"]


def test_ids_that_look_like_numbers_or_nothing_stay_as_they_are(tmp_path):
    split = {"007": SplitRow("train", "NA", "01"), "1e3": SplitRow("test"), "NA": SplitRow("val")}
    write_split(split, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv") == split
    (tmp_path / "split.csv").write_text("group,id,subset\n\n1,NA,val\n\n,a,Val\n")
    with pytest.raises(DatasetError, match="line 5: the subset is 'Val'"):
        read_split(tmp_path / "split.csv")


def test_a_split_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_split({"a": SplitRow("train")}, tmp_path / "split.csv")
    with pytest.raises(AttributeError):
        write_split({"a": SplitRow("test"), "b": None}, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv") == {"a": SplitRow("train")}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: the column id and the column subset is missing"),
        ("id,set\na,train\n", "line 1: the column subset is missing; .* got id, set"),
        ("id,subset\na,train\nb,Test\n", "line 3: the subset is 'Test', expected one of train, val, test"),
        ("id,subset\na,train\nb\n", "line 3: the subset is ''"),
        ("id,subset\na,train\nb,val\na,test\n", "line 4: the id a is named twice, first in line 2"),
        ("id,subset\n,train\n", "line 2: the id is empty"),
        ("id,subset\n", "names no image"),
        ("id,subset\na,\xff", "cannot be read as a split"),
    ],
)
def test_wrong_splits_are_refused_with_the_line(tmp_path, text, expected):
    (tmp_path / "split.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=rf"split.csv.*{expected}"):
        read_split(tmp_path / "split.csv")


def test_an_absent_split_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="absent.csv: cannot be read as a split"):
        read_split(tmp_path / "absent.csv")


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path):
    (tmp_path / "split.csv").write_bytes(b"\xef\xbb\xbfid,subset\r\na, train\r\n")
    assert read_split(tmp_path / "split.csv") == {"a": SplitRow("train")}


def test_a_drawn_split_keeps_groups_together_and_kinds_in_proportion(table):
    kinds, groups = table
    for seed in range(20):
        split = draw_split(kinds, groups, seed)
        assert split.keys() == kinds.keys()
        subsets = defaultdict(set)
        for sample_id, row in split.items():
            assert (row.kind, row.group) == (kinds[sample_id], groups[sample_id])
            subsets[row.group].add(row.subset)
        assert all(len(names) == 1 for names in subsets.values())
        got = counts(split)
        assert [got["common", subset] for subset in SUBSETS] == pytest.approx([192, 25.6, 38.4], abs=2)
        assert [got["rare", subset] for subset in SUBSETS] == [15, 2, 3]
        assert all(got["scarce", subset] for subset in SUBSETS)
        assert got["two", "train"] and got["two", "val"] and not got["two", "test"]


def test_the_seed_decides_and_the_order_of_the_input_does_not(table):
    kinds, groups = table
    backwards = {i: kinds[i] for i in reversed(kinds)}
    renamed = {i: f"other {group}" for i, group in groups.items()}
    first = draw_split(kinds, groups, 1)
    again = draw_split(backwards, renamed, 1)
    assert {i: row.subset for i, row in again.items()} == {i: row.subset for i, row in first.items()}
    assert draw_split(kinds, groups, 2) != first


@pytest.mark.parametrize(
    ("number", "expected"), [(2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1)), (20, (15, 2, 3))]
)
def test_few_samples_are_still_divided(number, expected):
    ids = [f"{i}" for i in range(number)]
    got = Counter(row.subset for row in draw_split(dict.fromkeys(ids, "stained"), {i: i for i in ids}, 0).values())
    assert tuple(got[subset] for subset in SUBSETS) == expected


def test_two_kinds_of_one_group_each_still_fill_train_and_val():
    split = draw_split({"a": "x", "b": "y", "c": "y"}, {"a": "0", "b": "1", "c": "1"}, 0)
    assert {i: row.subset for i, row in split.items()} == {"a": "val", "b": "train", "c": "train"}


def test_a_share_of_zero_leaves_a_subset_empty(table):
    assert {row.subset for row in draw_split(*table, 0, (0.9, 0.1, 0.0)).values()} == {"train", "val"}


def test_what_cannot_be_divided_is_refused(table):
    with pytest.raises(DatasetError, match="The images show one field alone, which cannot be split"):
        draw_split({"a": "x", "b": "x"}, {"a": "0", "b": "0"}, 0)
    with pytest.raises(DatasetError, match="one field alone"):
        draw_split({}, {}, 0)
    for fractions in ((0.5, 0.5), (0.5, 0.6, 0.1), (1, 0, 0), (1.2, 0.1, -0.3)):
        with pytest.raises(ValueError, match="fractions"):
            draw_split(*table, 0, fractions)

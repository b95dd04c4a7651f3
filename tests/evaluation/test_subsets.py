import numpy as np
import pytest

from segmentation.data.problems import DatasetError
from segmentation.evaluation.folders import EvaluationError, TrueImage
from segmentation.evaluation.subsets import choose_subset


@pytest.fixture
def split(tmp_path):
    file = tmp_path / "split.csv"
    file.write_text(
        "id,subset,kind,group\na,test,stained,7\nb,train,stained,7\nc,test,,\nd,test,smear,8\nf,val,smear,9\n"
    )
    return file


def images(names):
    return [TrueImage(name, np.empty, kind="fluorescence") for name in names]


def test_keeps_the_subset_with_kind_and_group(split):
    chosen, absent = choose_subset(images("cab"), split, "test")
    assert [(i.id, i.kind, i.group) for i in chosen] == [("c", "fluorescence", None), ("a", "stained", "7")]
    assert absent == ["d"]


@pytest.mark.parametrize(
    ("names", "subset", "sentence"), [("ab", "tset", "train, val, test"), ("ab", "val", "none of the 1")]
)
def test_refuses_an_empty_choice(split, names, subset, sentence):
    with pytest.raises(EvaluationError, match=sentence):
        choose_subset(images(names), split, subset)


def test_refuses_a_subset_that_the_split_does_not_have(tmp_path):
    file = tmp_path / "split.csv"
    file.write_text("id,subset\na,train\n")
    with pytest.raises(EvaluationError, match="no image in the subset test"):
        choose_subset(images("a"), file, "test")
    with pytest.raises(DatasetError):
        choose_subset(images("a"), tmp_path / "absent.csv", "test")

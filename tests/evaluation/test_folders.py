import os
import zlib

import cv2
import numpy as np
import pytest
import tifffile

from segmentation.data.masks import WholeMask
from segmentation.data.problems import DatasetError
from segmentation.evaluation.folders import (
    EvaluationError,
    TrueImage,
    choose_subset,
    find_predictions,
    find_truth,
    read_labels,
    score_predictions,
)
from segmentation.results.rois import write_rois


def square(label=1):
    labels = np.zeros((20, 24), np.uint16)
    labels[2:8, 3:9], labels[12:18, 3:9] = label, label + 1
    return labels


def test_predictions_are_found_in_the_folder_or_in_its_labels(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "masks").mkdir()
    for name in ("b.tif", "a.png", "a.tif", ".c.tif", "notes.txt", "d.jpg"):
        (tmp_path / "labels" / name).touch()
    (tmp_path / "masks" / "e.png").touch()
    expected = {"a": tmp_path / "labels" / "a.tif", "b": tmp_path / "labels" / "b.tif"}
    assert find_predictions(tmp_path) == find_predictions(tmp_path / "labels") == expected


def test_masks_serve_where_there_are_no_labels(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "e.png").touch()
    assert list(find_predictions(tmp_path)) == ["e"]


def test_only_regular_files_are_opened(tmp_path):
    """A pipe would be waited for, and a link to itself cannot be followed."""
    for folder in ("predictions", "truth"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", square())
        os.mkfifo(tmp_path / folder / "b.tif")
        (tmp_path / folder / "c.png").symlink_to("c.png")
        (tmp_path / folder / "d.png").mkdir()
    assert list(find_predictions(tmp_path / "predictions")) == ["a"]
    assert [image.id for image in find_truth(tmp_path / "truth")] == ["a"]


def test_a_label_map_that_claims_more_than_it_holds_counts_as_empty(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), square())
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    (scored,) = score_predictions([TrueImage("a", square)], find_predictions(tmp_path))
    assert (
        scored.score.predicted_nuclei == 0 and "claims 20,000 x 20,000" in scored.problem and "\n" not in scored.problem
    )


def test_no_predictions_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="holds no label maps"):
        find_predictions(tmp_path)
    with pytest.raises(EvaluationError, match="is not a folder"):
        find_predictions(tmp_path / "absent")


def test_masks_fall_into_their_components(tmp_path):
    mask = (square() > 0).astype(np.uint8) * 255
    mask[8, 9] = 255  # touches the upper square at a corner only: the same nucleus
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    labels = read_labels(tmp_path / "mask.png")
    assert labels.max() == 2 and labels[8, 9] == labels[2, 3] != labels[12, 3]


def test_the_nuclei_of_label_maps_are_kept(tmp_path):
    tifffile.imwrite(tmp_path / "labels.tif", square(70))
    assert np.array_equal(read_labels(tmp_path / "labels.tif"), square())
    torn = square()  # one label of several may be in two pieces
    torn[0, 20:22] = 1
    cv2.imwrite(str(tmp_path / "torn.png"), torn)
    assert np.array_equal(read_labels(tmp_path / "torn.png"), torn)


@pytest.mark.parametrize("value", [1, 7, 255])
def test_masks_are_split_as_training_splits_them(tmp_path, value):
    mask = (square() > 0).astype(np.uint8) * value
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    labels, _ = WholeMask(tmp_path / "mask.png").read("mask", mask.shape)
    assert np.array_equal(labels, square())
    assert np.array_equal(read_labels(tmp_path / "mask.png"), labels)


@pytest.mark.parametrize("value", [64, 128, 2])
def test_masks_that_training_refuses_are_refused(tmp_path, value):
    """A grey rim around each nucleus, as resizing makes it."""
    mask = np.uint8(255 * (square() > 0))
    mask[cv2.dilate(mask, np.ones((3, 3))) != mask] = value
    for folder in ("truth", "predictions"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), mask)
    with pytest.raises(EvaluationError, match=r"truth cannot be read: .*x\.png: mask of shades"):
        find_truth(tmp_path / "truth")[0].read()
    (scored,) = score_predictions([TrueImage("x", square)], find_predictions(tmp_path / "predictions"))
    assert scored.score.predicted_nuclei == 0 and "x.png: mask of shades" in scored.problem


@pytest.fixture(params=["bowl", "pairs", "maps", "labels"])
def truth_folder(request, tmp_path):
    """The same truth of one image, `x`, in four layouts."""
    folder, labels = tmp_path / "truth", square()
    if request.param == "bowl":
        (folder / "x" / "images").mkdir(parents=True)
        (folder / "x" / "masks").mkdir()
        cv2.imwrite(str(folder / "x" / "images" / "x.png"), np.zeros(labels.shape, np.uint8))
        for label in (1, 2):
            cv2.imwrite(str(folder / "x" / "masks" / f"{label}.png"), (labels == label).astype(np.uint8) * 255)
    elif request.param == "pairs":
        for name, pixels in (("images", np.zeros(labels.shape, np.uint8)), ("masks", labels)):
            (folder / name).mkdir(parents=True)
            cv2.imwrite(str(folder / name / "x.png"), pixels)
    else:
        inner = folder / "labels" if request.param == "labels" else folder
        inner.mkdir(parents=True)
        tifffile.imwrite(inner / "x.tif", labels)
    return folder


def test_truth_is_read_from_every_layout(truth_folder):
    (image,) = find_truth(truth_folder)
    assert image.id == "x"
    assert np.array_equal(image.read(), square())


def test_outlines_are_truth_beside_their_images(tmp_path):
    (tmp_path / "images").mkdir(), (tmp_path / "rois").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "x.png"), np.zeros((20, 24), np.uint8))
    write_rois(tmp_path / "rois" / "x.zip", square())
    (image,) = find_truth(tmp_path)
    assert image.id == "x" and np.array_equal(image.read(), square())


def test_truth_in_two_folders_is_refused(tmp_path):
    for folder, values in (("images", 0), ("labels", 1), ("rois", 1)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), square() * values)
    with pytest.raises(EvaluationError, match="in labels and in rois; keep the folder that holds the truth"):
        find_truth(tmp_path)


def test_no_truth_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent.zip"):
        with pytest.raises(EvaluationError, match=path.name):
            find_truth(path)


def test_images_are_not_taken_for_label_maps(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.random.default_rng(0).integers(10, 200, (20, 24)).astype(np.uint8))
    (image,) = find_truth(tmp_path)
    with pytest.raises(EvaluationError, match="x.png: no background"):
        image.read()


def test_unreadable_truth_is_refused(truth_folder):
    for file in [f for f in truth_folder.rglob("*") if f.is_file()]:
        file.write_bytes(b"")
    (image,) = find_truth(truth_folder)
    with pytest.raises(EvaluationError, match="the truth cannot be read: .*x"):
        image.read()


def test_missing_and_unreadable_predictions_count_as_empty(tmp_path):
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    truth.mkdir(), predictions.mkdir()
    for name in "abc":
        tifffile.imwrite(truth / f"{name}.tif", square())
    tifffile.imwrite(predictions / "a.tif", square())
    (predictions / "b.tif").write_bytes(b"II*\0")
    a, b, c = score_predictions(find_truth(truth), find_predictions(predictions))
    assert a.score.bowl == 1 and a.problem is None
    assert b.score.dice == c.score.dice == 0
    assert "b.tif" in b.problem and c.problem == "c: no prediction of that name"


def test_another_size_counts_as_empty_and_both_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", square())
    (tmp_path / "p").mkdir()
    tifffile.imwrite(tmp_path / "p" / "a.tif", square().T)
    (scored,) = score_predictions(find_truth(tmp_path), find_predictions(tmp_path / "p"))
    assert scored.score.dice == 0
    assert scored.problem.startswith(f"{tmp_path / 'p' / 'a.tif'} has 24 x 20 pixels")
    assert "the truth of a 20 x 24; expected equal sizes" in scored.problem


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

import shutil

import cv2
import numpy as np
import pytest

from segmentation.data import archive, problems
from segmentation.data.layouts import NO_MASKS, NUCLEUS_FILES, PAIRS, RUN_LENGTHS, find_data_set, find_samples
from segmentation.data.problems import DatasetError
from segmentation.results.geojson import write_geojson
from segmentation.results.measurement import measure_nuclei
from segmentation.results.rois import write_rois


def run_lengths_of(labels, number):
    return " ".join(f"{index + 1} 1" for index in np.flatnonzero((labels == number).T))


def write_table(file, label_maps, name="{}"):
    rows = [f"{name.format(i)},{run_lengths_of(m, n)}" for i, m in label_maps.items() for n in range(1, m.max() + 1)]
    file.write_text("\n".join(["ImageId,EncodedPixels", *rows]) + "\n")


@pytest.fixture
def label_maps(nuclei):
    return {"b": nuclei, "a": nuclei[::-1].copy(), "c": nuclei[:, ::-1].copy()}


def assert_holds(path, layout, label_maps):
    found = find_data_set(path)
    assert found.layout == layout and not found.problems
    assert [sample.id for sample in found.samples] == sorted(label_maps)
    for sample in found.samples:
        assert not sample.problems
        shape = sample.read_image().pixels.shape[:2]
        np.testing.assert_array_equal(sample.read_labels(shape), label_maps[sample.id])


@pytest.mark.parametrize("prefix", ["", "stage1_train/", "fixes-303545/stage1_train/"])
def test_bowl_as_folder_and_as_zip(tmp_path, write_bowl, zip_folder, label_maps, prefix):
    root = write_bowl(tmp_path / "data" / prefix, label_maps)
    (root / ".DS_Store").write_text("")
    (root / "a" / "masks" / "Thumbs.db").write_text("")
    (root / "README.md").write_text("")
    assert_holds(tmp_path / "data", NUCLEUS_FILES, label_maps)
    assert_holds(root, NUCLEUS_FILES, label_maps)
    assert_holds(zip_folder(tmp_path / "data", tmp_path / "x.zip"), NUCLEUS_FILES, label_maps)


def test_a_bowl_of_one_sample(tmp_path, write_bowl, nuclei):
    assert_holds(write_bowl(tmp_path, {"only": nuclei}), NUCLEUS_FILES, {"only": nuclei})


def test_images_beside_masks(tmp_path, write_pairs, write_picture, zip_folder, label_maps, picture):
    root = write_pairs(tmp_path / "data", label_maps)
    (root / "images" / "a.png").unlink()
    write_picture(root / "images" / "a.tif", picture(label_maps["a"]))
    assert_holds(root, PAIRS, label_maps)
    assert_holds(tmp_path, PAIRS, label_maps)
    assert_holds(zip_folder(root, tmp_path / "x.zip"), PAIRS, label_maps)


def test_one_image_beside_one_mask_in_a_named_folder(tmp_path, write_pairs, nuclei):
    write_pairs(tmp_path / "train", {"cells": nuclei})
    assert_holds(tmp_path, PAIRS, {"cells": nuclei})


@pytest.mark.parametrize(("table", "name"), [("images/t.csv", "{}"), ("t.csv", "{}.png")])
def test_run_lengths_in_the_folder_or_beside_it(tmp_path, write_pairs, zip_folder, label_maps, table, name):
    write_pairs(tmp_path, label_maps)
    shutil.rmtree(tmp_path / "masks")
    write_table(tmp_path / table, label_maps, name)
    (tmp_path / "images.csv").write_text("about,something\nelse,1\n")
    assert_holds(tmp_path / "images", RUN_LENGTHS, label_maps)
    assert_holds(tmp_path, RUN_LENGTHS, label_maps) if table == "t.csv" else None
    if table == "images/t.csv":
        assert_holds(zip_folder(tmp_path / "images", tmp_path / "x.zip"), RUN_LENGTHS, label_maps)


def test_a_table_too_large_to_be_read_from_a_zip_is_named_and_other_large_files_do_not_matter(
    tmp_path, write_pairs, zip_folder, label_maps, monkeypatch
):
    write_pairs(tmp_path / "data", label_maps)
    shutil.rmtree(tmp_path / "data" / "masks")
    (tmp_path / "data" / "measured.csv").write_text("about,something\n" + "else,1\n" * 10_000)
    write_table(tmp_path / "data" / "t.csv", label_maps)
    zip_folder(tmp_path / "data", tmp_path / "data.zip")
    monkeypatch.setattr(archive, "LARGEST_MEMBER", 69_999)
    assert_holds(tmp_path / "data.zip", RUN_LENGTHS, label_maps)
    monkeypatch.setattr(archive, "LARGEST_MEMBER", 20)
    with pytest.raises(
        DatasetError, match=r"data\.zip/\S*t\.csv: cannot be read as a table of run lengths: .* 20 are read"
    ):
        find_data_set(tmp_path / "data.zip")


def test_the_table_is_chosen_by_its_ids(tmp_path, write_bowl, label_maps):
    """Kaggle's download keeps a submission for other images beside the table."""
    root = write_bowl(tmp_path / "stage1_train", label_maps)
    for sample_id in label_maps:
        shutil.rmtree(root / sample_id / "masks")
    write_table(tmp_path / "stage1_train_labels.csv", label_maps)
    (tmp_path / "stage1_sample_submission.csv").write_text("ImageId,EncodedPixels\nother,1 1\n")
    assert_holds(root, RUN_LENGTHS, label_maps)
    write_table(tmp_path / "copy.csv", label_maps)
    with pytest.raises(DatasetError, match="2 run-length tables name its images"):
        find_samples(root)


def test_rows_without_an_image_and_images_without_a_row(tmp_path, write_pairs, label_maps):
    write_pairs(tmp_path, label_maps)
    named = {"a": label_maps["a"], "gone": label_maps["b"]}
    write_table(tmp_path / "images" / "t.csv", named)
    with (tmp_path / "images" / "t.csv").open("a") as file:
        file.write("b,\n")
    found = find_data_set(tmp_path / "images")
    assert [problem.what for problem in found.problems] == [problems.UNUSED_ROWS]
    whats = {sample.id: [(p.what, p.fatal) for p in sample.problems] for sample in found.samples}
    assert whats == {"a": [], "b": [], "c": [(problems.NO_MASKS, True)]}
    assert not found.samples[1].read_labels((48, 64)).any()
    with pytest.raises(DatasetError, match=r"c\.png: image without masks"):
        found.samples[2].read_labels((48, 64))


def test_missing_and_doubled_files_are_problems_of_their_sample(tmp_path, write_pairs, write_picture, label_maps):
    root = write_pairs(tmp_path, label_maps | {"d": label_maps["a"], "e": label_maps["a"]})
    (root / "masks" / "a.png").unlink()
    (root / "images" / "b.png").unlink()
    write_picture(root / "images" / "c.tif", np.zeros((48, 64), np.uint8))
    write_picture(root / "masks" / "d.tif", np.zeros((48, 64), np.uint8))
    samples = find_samples(root)
    whats = {sample.id: [(p.what, p.fatal) for p in sample.problems] for sample in samples}
    assert whats == {
        "a": [(problems.NO_MASKS, True)],
        "b": [(problems.NO_IMAGE, True)],
        "c": [(problems.SEVERAL_FILES, True)],
        "d": [(problems.SEVERAL_FILES, True)],
        "e": [],
    }
    assert [sample.id for sample in find_samples(root, need_masks=False)] == ["a", "c", "d", "e"]


def test_the_same_in_the_bowl_layout(tmp_path, write_bowl, write_picture, label_maps):
    root = write_bowl(tmp_path, label_maps | {"d": label_maps["a"], "e": label_maps["a"]})
    shutil.rmtree(root / "a" / "masks")
    shutil.rmtree(root / "b" / "images")
    write_picture(root / "c" / "images" / "c.tif", np.zeros((48, 64), np.uint8))
    for file in (root / "d" / "masks").iterdir():
        file.unlink()
    whats = {sample.id: [problem.what for problem in sample.problems] for sample in find_samples(root)}
    # An empty masks/ says that there are no nuclei; that is found when the masks are read.
    assert whats == {
        "a": [problems.NO_MASKS],
        "b": [problems.NO_IMAGE],
        "c": [problems.SEVERAL_FILES],
        "d": [],
        "e": [],
    }


def test_images_without_masks_can_be_listed_but_not_trained_on(tmp_path, write_bowl, zip_folder, label_maps):
    root = write_bowl(tmp_path / "stage1_test", label_maps)
    for sample_id in label_maps:
        shutil.rmtree(root / sample_id / "masks")
    for path in (root, zip_folder(root, tmp_path / "x.zip")):
        with pytest.raises(DatasetError, match="3 images, but no masks that belong to them"):
            find_samples(path)
        found = find_data_set(path, need_masks=False)
        assert found.layout == NO_MASKS and [sample.id for sample in found.samples] == ["a", "b", "c"]
        assert not any(sample.problems for sample in found.samples)


def test_of_several_data_sets_the_one_with_masks_or_none(tmp_path, write_bowl, label_maps):
    write_bowl(tmp_path / "stage1_train", label_maps)
    other = write_bowl(tmp_path / "stage1_test", {"x": label_maps["a"], "y": label_maps["b"]})
    with pytest.raises(DatasetError, match=r"2 data sets \(stage1_test, stage1_train\); give the folder of one"):
        find_samples(tmp_path)
    for sample_id in ("x", "y"):
        shutil.rmtree(other / sample_id / "masks")
    assert [sample.id for sample in find_samples(tmp_path)] == ["a", "b", "c"]


def test_of_many_data_sets_the_first_are_listed(tmp_path, write_pairs, label_maps):
    for number in range(12):
        write_pairs(tmp_path / f"{number:02d}", {"a": label_maps["a"]})
    with pytest.raises(DatasetError, match=r"holds 12 data sets \(00, 01, 02, 03, 04 and 7 more\); give"):
        find_samples(tmp_path)


def test_train_beside_test_are_subsets_of_one(tmp_path, write_pairs, zip_folder, label_maps):
    write_pairs(tmp_path / "d" / "train", label_maps)
    write_pairs(tmp_path / "d" / "Test", {"x": label_maps["a"]})
    for path in (tmp_path, tmp_path / "d", zip_folder(tmp_path / "d", tmp_path / "d.zip")):
        subsets = {sample.id: sample.subset for sample in find_samples(path)}
        assert subsets == {"a": "train", "b": "train", "c": "train", "x": "test"}
    write_pairs(tmp_path / "d" / "validation", {"x": label_maps["b"], "y": label_maps["b"]})
    assert_holds(
        tmp_path / "d", PAIRS, label_maps | dict.fromkeys(["val_x", "y"], label_maps["b"]) | {"test_x": label_maps["a"]}
    )
    assert [sample.subset for sample in find_samples(tmp_path / "d" / "train")] == [None] * 3
    write_pairs(tmp_path / "d" / "more", label_maps)
    with pytest.raises(DatasetError, match=r"4 data sets \(Test, more, train, validation\)"):
        find_samples(tmp_path / "d")


NAMES = {
    "NAME_mask.png": "{}_mask.png",
    "NAME-masks.tif": "{}-masks.tif",
    "NAME_cp_masks.tif": "{}_cp_masks.tif",
    "mask_NAME.png": "mask_{}.png",
    "NAME_Label.png": "{}_Label.png",
    "NAME.npy": "{}.npy",
    "NAME_RoiSet.zip": "{}_RoiSet.zip",
    "NAME.geojson": "{}.geojson",
}


def write_masks(file, labels):
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, labels)
    elif file.suffix == ".zip":
        write_rois(file, labels)
    elif file.suffix == ".geojson":
        write_geojson(file, labels, measure_nuclei(labels, np.zeros((*labels.shape, 1)), ("grey",)))
    else:
        cv2.imwrite(str(file), labels.astype(np.uint16))


@pytest.mark.parametrize(
    "folders", [("images", "masks"), ("Images", "labels"), ("images", "rois"), ("", ""), ("images", "images")]
)
@pytest.mark.parametrize("name", NAMES)
def test_masks_as_people_name_and_place_them(tmp_path, write_picture, zip_folder, label_maps, picture, folders, name):
    for stem, labels in label_maps.items():
        write_picture(tmp_path / "d" / folders[0] / f"{stem}.png", picture(labels))
        write_masks(tmp_path / "d" / folders[1] / NAMES[name].format(stem), labels)
    assert_holds(tmp_path / "d", PAIRS, label_maps)
    assert_holds(zip_folder(tmp_path / "d", tmp_path / "d.zip"), PAIRS, label_maps)


def test_images_that_are_called_so_beside_masks(tmp_path, write_picture, nuclei, picture):
    """As in Cellpose's data; and a name that ends so on both sides."""
    for stem in ("000_img", "001_img", "a_mask"):
        write_picture(tmp_path / f"{stem}.png", picture(nuclei))
        write_picture(tmp_path / f"{stem.replace('_img', '')}_masks.png", nuclei.astype(np.uint16))
    assert_holds(tmp_path, PAIRS, dict.fromkeys(["000_img", "001_img", "a_mask"], nuclei))
    found = find_samples(tmp_path, need_masks=False)
    assert [sample.id for sample in found] == ["000_img", "001_img", "a_mask"]


def test_label_maps_are_preferred_to_the_masks_of_a_prediction_and_that_is_said(tmp_path, write_pairs, label_maps):
    root = write_pairs(tmp_path, label_maps)
    shutil.copytree(root / "masks", root / "labels")
    for stem in label_maps:
        write_masks(root / "masks" / f"{stem}.png", 255 * (label_maps[stem] > 0))
    found = find_data_set(root)
    assert [problem.what for problem in found.problems] == [problems.NOT_READ]
    sample = found.samples[0]
    np.testing.assert_array_equal(sample.read_labels((48, 64)), label_maps[sample.id])
    shutil.copytree(root / "masks", root / "rois")
    with pytest.raises(DatasetError, match="has the nuclei of its images in labels and in masks and in rois; keep"):
        find_samples(root)


def test_nothing_found_says_what_there_is_and_what_was_expected(tmp_path):
    with pytest.raises(DatasetError, match="It holds nothing"):
        find_samples(tmp_path)
    (tmp_path / "scan.czi").write_text("")
    (tmp_path / "stage1_train.zip").write_text("")
    (tmp_path / "notes").mkdir()
    with pytest.raises(DatasetError) as caught:
        find_samples(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "1 folders, 1 files (.czi), 1 files (.zip)" in message
    assert "<id>/masks/*.png" in message and "masks/NAME.png" in message and "EncodedPixels" in message
    assert f"give {tmp_path / 'stage1_train.zip'} itself" in message


def test_unequal_names_are_refused(tmp_path, write_pairs, label_maps):
    root = write_pairs(tmp_path, label_maps)
    for file in (root / "masks").iterdir():
        file.rename(file.with_stem(f"{file.stem}_other"))
    with pytest.raises(DatasetError, match="3 images, but no masks that belong to them"):
        find_samples(root)

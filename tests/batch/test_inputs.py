import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segmentation.batch.inputs import InputError, find_inputs, passed_over, unique_names
from segmentation.data.problems import DatasetError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def names(*arguments, **options):
    return [source.name for source in find_inputs([str(argument) for argument in arguments], **options)]


def test_files_folders_and_globs_keep_their_order_and_come_once(tmp_path):
    touch(tmp_path, "b/2.png", "b/10.TIF", "b/notes.txt", "b/.hidden.png", "b/below/x.png", "a.jpg")
    assert names(tmp_path / "b", tmp_path / "a.jpg", tmp_path / "b" / "*.png") == ["10", "2", "a"]
    assert names(tmp_path / "*.jpg", tmp_path / "b") == ["a", "10", "2"]


def test_a_glob_may_match_nothing_but_other_files(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(InputError, match="no images"):
        find_inputs([str(tmp_path / "*.txt")])


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path):
    touch(tmp_path, "cells.dat")
    assert names(tmp_path / "cells.dat") == ["cells"]


@pytest.mark.parametrize("argument", ["empty", "text", "text/*.txt", "empty.zip", "below"])
def test_an_argument_without_images_beside_a_good_one_is_refused_as_a_missing_one_is(tmp_path, argument):
    touch(tmp_path, "good.png", "text/notes.txt", "below/deeper/notes.txt")
    (tmp_path / "empty").mkdir()
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    expected = r"no images .* in \S+/(empty$|text.*; there are 1 \.txt$)|(empty\.zip|below): no data set found"
    for arguments in ("good.png", argument), (argument, "good.png"):
        with pytest.raises((InputError, DatasetError), match=expected):
            find_inputs([str(tmp_path / each) for each in arguments])


@pytest.mark.parametrize("argument", ["missing.png", "missing", "missing/*.png"])
def test_what_does_not_exist_is_refused(tmp_path, argument):
    with pytest.raises(InputError, match="no file or folder .*missing"):
        find_inputs([str(tmp_path / argument)])


def test_a_folder_without_images_is_refused(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(InputError, match="no images"):
        find_inputs([str(tmp_path)])


def test_a_data_set_of_which_only_the_images_are_taken(tmp_path):
    touch(tmp_path / "bowl", *(f"{i}/images/{i}.png" for i in "cab"), "a/masks/m1.png", "a/masks/m2.png")
    assert names(tmp_path / "bowl") == ["a", "b", "c"]
    touch(tmp_path / "pairs", "images/x.png", "images/x.tif", "masks/x.png")
    assert names(tmp_path / "pairs") == ["x_png", "x_tif"]
    with zipfile.ZipFile(tmp_path / "bowl.zip", "w") as archive:
        for i in "ba":
            archive.writestr(f"{i}/images/{i}.png", i)
            archive.writestr(f"{i}/masks/m.png", "")
    inputs = find_inputs([str(tmp_path / "bowl.zip")])
    assert [(source.name, source.file.read_bytes()) for source in inputs] == [("a", b"a"), ("b", b"b")]


def test_a_subset_selects_by_id(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    assert names(tmp_path, subset={"c", "a", "elsewhere"}) == ["a", "c"]
    with pytest.raises(InputError, match="None of the 3 images"):
        find_inputs([str(tmp_path)], subset={"elsewhere"})


def test_results_are_not_taken_for_images(tmp_path):
    touch(tmp_path, "a.png", "out/masks/a.png", "out/overlays/a.png", "out/own.png")
    ignored = [tmp_path / "out" / "masks", tmp_path / "out" / "overlays"]
    assert names(tmp_path / "**" / "*.png", ignored=ignored) == ["a", "own"]
    with pytest.raises(InputError, match="no images"):
        find_inputs([str(tmp_path / "out" / "masks" / "a.png")], ignored=ignored)


def test_a_folder_of_results_that_fits_the_pattern_of_a_shell_is_passed_over(tmp_path):
    touch(tmp_path, "a.png", "out/masks/a.png", "out/labels/a.tif", "out/nuclei.csv", "out/.records/a.json")
    (tmp_path / "out" / "rois").mkdir()  # no image was done yet
    ignored = [tmp_path / "out" / name for name in ("masks", "labels", "rois")]
    assert names(*sorted(tmp_path.iterdir()), ignored=ignored) == ["a"]
    assert names(*sorted(tmp_path.iterdir()), *ignored, ignored=ignored) == ["a"]
    with pytest.raises(InputError, match="no images"):
        find_inputs([str(tmp_path / "out")], ignored=ignored)
    with pytest.raises(InputError, match=r"in (\S+, ){4}\S+ and 25 more$"):
        find_inputs([str(tmp_path / "out" / "masks" / "a.png")] * 30, ignored=ignored)
    touch(tmp_path, "out/own.png", "data/images/b.png", "data/masks/b.png")
    assert names(*sorted(tmp_path.iterdir()), ignored=ignored) == ["a", "b", "own"]
    assert names(tmp_path / "data", ignored=[tmp_path / "data" / "masks"]) == ["b"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.png", "b.png"], ["a", "b"]),
        ([".a.png", "....png"], ["a", "image"]),
        (["a.png", "a.tif", "b.tif"], ["a_png", "a_tif", "b"]),
        (["Cell.png", "cell.PNG"], ["Cell_png_1", "cell_png_2"]),
        (["l/a.png", "r/a.png", "r/a.tif"], ["l_a_png", "r_a_png", "a_tif"]),
        (["x/l/a.png", "y/l/a.png"], ["l_a_png_1", "l_a_png_2"]),
        # A name that the rule gives may be another image's own.
        (["a.png", "a.tif", "a_png.png"], ["a_png_1", "a_tif", "a_png_2"]),
        (["x/l/a.png", "y/l/a.png", "l_a_png_1.bmp"], ["l_a_png_2", "l_a_png_3", "l_a_png_1"]),
    ],
)
def test_images_that_share_a_name_are_kept_apart(paths, expected):
    found = unique_names([(Path(path).stem, path) for path in paths])
    assert found == expected
    assert len({name.casefold() for name in found}) == len(paths)


def test_a_link_to_nothing_is_taken_so_that_reading_it_says_so(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    assert [found.name for found in find_inputs([str(tmp_path)])] == ["a"]
    assert [found.name for found in find_inputs([str(tmp_path / "a.png")])] == ["a"]


def test_a_folder_that_must_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=rf"^{tmp_path} cannot be read \(Permission denied\)$"):
        find_inputs([str(tmp_path)])


def test_what_is_no_image_is_counted_by_suffix(tmp_path):
    touch(tmp_path, "a.png", "b.SVS", "c.webp", "d.mrxs", "e.MRXS", "notes.txt", "README", ".hidden", "below/x.png")
    touch(tmp_path, "results/masks/a.png", "results/nuclei.csv")
    assert names(tmp_path) == ["a", "b", "c"]
    ignored = [tmp_path / "results" / "masks"]
    expected = {".mrxs": 2, ".txt": 1, "files without suffix": 1, "folders": 1}
    assert passed_over([str(tmp_path)], ignored) == expected
    assert passed_over([str(tmp_path), str(tmp_path / "*.mrxs")], ignored) == expected
    assert passed_over([str(tmp_path / "*.[mt]*")]) == {".mrxs": 1, ".txt": 1}


def test_what_lies_beside_the_folder_of_images_is_counted_but_not_its_masks(tmp_path):
    touch(tmp_path, "images/a.png", "images/b.mrxs", "masks/a.png", "c.mrxs")
    assert passed_over([str(tmp_path)]) == {".mrxs": 2}
    touch(tmp_path / "bowl", "a/images/a.png", "a/masks/m.png", "labels.csv")
    assert not passed_over([str(tmp_path / "bowl")])


def test_a_folder_of_other_files_is_refused_with_what_is_there(tmp_path):
    touch(tmp_path, "a.mrxs", "b.mrxs")
    with pytest.raises(InputError, match=r"no images .*; there are 2 \.mrxs"):
        find_inputs([str(tmp_path)])


def test_frames_are_images_of_their_own(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 9, 9), np.uint8), imagej=True, metadata={"axes": "TYX"})
    touch(tmp_path, "b.png")
    assert names(tmp_path) == ["a_t1", "a_t2", "a_t3", "b"]
    assert [source.place for source in find_inputs([str(tmp_path / "a.tif")])][2] == (("frame", "3"),)

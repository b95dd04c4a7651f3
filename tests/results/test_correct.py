"""The choice of images to correct, and the folder that is made of it."""

import csv
import itertools
import shutil

import numpy as np
import pytest
import roifile
import tifffile
import zarr

import predict_masks
from data.draw_samples import draw_fluorescence
from segmentation.data.layouts import find_data_set
from segmentation.results.correct import main, rank

COLUMNS = ["image", "file", "status", "height", "width", "median_diameter", "expected_dice", "expected_ap50", "unlike"]


@pytest.fixture
def results(tmp_path, write_drawn):
    """Three images and their results; two of them are the same picture."""
    drawn = write_drawn(tmp_path / "data", 3)
    shutil.copyfile(tmp_path / "data/images/drawn_00.png", tmp_path / "data/images/drawn_01.png")
    (tmp_path / "results/labels").mkdir(parents=True)
    rows = []
    for (name, (_, labels)), ap50 in zip(drawn.items(), (0.5, 0.6, 0.9), strict=True):
        tifffile.imwrite(tmp_path / "results/labels" / f"{name}.tif", labels.astype(np.uint16))
        rows.append(
            [name, str(tmp_path / "data/images" / f"{name}.png"), "done", *sizes(labels), "12", "0.9", str(ap50), ""]
        )
    rows.append(["broken", "broken.png", "failed", *[""] * 6])
    write_table(tmp_path / "results", rows)
    return tmp_path / "results"


def sizes(labels):
    return [str(length) for length in labels.shape]


def write_table(results, rows, columns=COLUMNS):
    with (results / "images.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def test_the_choice_is_the_best_of_all_at_each_step():
    rng = np.random.default_rng(0)
    doubt, looks = rng.random(12), rng.normal(0, 0.4, (12, 3))
    chosen = rank(doubt, looks, 5)
    assert chosen[0] == doubt.argmax()
    for number, index in itertools.islice(enumerate(chosen), 1, None):
        before = chosen[:number]
        gains = [
            doubt[i] * min(1, *(np.linalg.norm(looks[i] - looks[j]) for j in before)) if i not in before else -1
            for i in range(12)
        ]
        assert gains[index] == pytest.approx(max(gains))
    assert sorted(rank(doubt, looks, 99)) == list(range(12))


def test_the_folder_is_a_data_set_with_rois(results, tmp_path, capsys):
    assert main([str(results), "--count", "2", "--output", str(tmp_path / "to correct")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "drawn_00: expected AP50 0.5" and said[-1].endswith(f"train.py --data '{tmp_path}/to correct'")
    (tmp_path / "to correct").rename(tmp_path / "chosen")
    with (tmp_path / "chosen/chosen.csv").open(newline="") as stream:
        names = [row["image"] for row in csv.DictReader(stream)]
    assert names == ["drawn_00", "drawn_02"]  # drawn_01 is the same picture as drawn_00
    found = find_data_set(tmp_path / "chosen")
    assert [sample.id for sample in found.samples] == names and not found.problems
    for sample in found.samples:
        labels = sample.read_labels(sample.read_image().pixels.shape[:2])
        expected = tifffile.imread(results / "labels" / f"{sample.id}.tif")
        assert np.mean((labels > 0) != (expected > 0)) < 0.01, "but for half a pixel of the outlines"
        assert labels.max() == expected.max()
        assert len(roifile.roiread(tmp_path / "chosen/rois" / f"{sample.id}.zip")) == expected.max()


def test_frames_and_fields_of_a_plate_are_images_of_their_own(tmp_path, capsys):
    """They are written as pictures that Fiji opens, with the outlines that were found in them."""
    rng = np.random.default_rng(4)
    frames = np.stack([draw_fluorescence(rng, (96, 96))[0] for _ in range(3)])
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/film.tif", frames, imagej=True, metadata={"axes": "TYX"})
    plate = zarr.open_group(str(tmp_path / "in/plate.zarr"), mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "B/3"}]}
    well = plate.create_group("B/3")
    well.attrs["well"] = {"images": [{"path": "0"}]}
    field = well.create_group("0")
    axes = [{"name": name, "type": "space"} for name in "yx"]
    field.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    field.create_array("0", data=frames[0][:, :80])
    command = [str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--outputs", "labels", "images"]
    assert predict_masks.main(command) == 0
    with (tmp_path / "out/images.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    places = {row["image"]: (row["row"], row["column"], row["field"], row["frame"]) for row in rows}
    assert places == {f"film_t{t}": ("", "", "", str(t)) for t in (1, 2, 3)} | {"plate_B3_f1": ("B", "3", "1", "")}
    assert main([str(tmp_path / "out"), "--output", str(tmp_path / "chosen")]) == 0
    samples = {sample.id: sample for sample in find_data_set(tmp_path / "chosen").samples}
    assert samples.keys() == places.keys()
    for number, name in enumerate(("film_t1", "film_t2", "film_t3")):
        np.testing.assert_array_equal(samples[name].read_image().pixels[..., 0], frames[number])
    np.testing.assert_array_equal(samples["plate_B3_f1"].read_image().pixels[..., 0], frames[0][:, :80])
    for sample in samples.values():
        assert sample.read_labels(sample.read_image().pixels.shape[:2]).any()
    frames = np.where(np.arange(3)[:, None, None] == 1, np.nan, frames.astype(np.float32))
    tifffile.imwrite(tmp_path / "in/film.tif", frames, imagej=True, metadata={"axes": "TYX"})
    assert main([str(tmp_path / "out"), "--output", str(tmp_path / "again")]) == 2
    assert f"correct: {tmp_path}/in/film.tif (frame 2) holds 9,216 values that are NaN" in capsys.readouterr().err


def test_of_channels_and_stacks_the_picture_that_was_segmented_is_written(tmp_path):
    """train.py takes no files of several channels or planes, and Fiji opens no .npy."""
    rng = np.random.default_rng(5)
    nuclei = draw_fluorescence(rng, (96, 80))[0]
    folders = "channels", "stack", "plain"
    for name in folders:
        (tmp_path / name).mkdir()
    imagej = {"imagej": True, "resolution": (4, 4)}
    pair = np.stack([rng.integers(0, 99, nuclei.shape, np.uint8), nuclei])
    tifffile.imwrite(tmp_path / "channels/=cell.tif", pair, metadata={"axes": "CYX", "unit": "um"}, **imagej)
    planes = np.stack([nuclei // 2, nuclei, nuclei // 3])
    tifffile.imwrite(tmp_path / "stack/cell.tif", planes, metadata={"axes": "ZYX", "unit": "um"}, **imagej)
    np.save(tmp_path / "plain/cell.npy", nuclei)
    options = ["--channel", "2", "--shard", "1/1"], ["--project", "max"], []
    for name, how in zip(folders, options, strict=True):
        out = tmp_path / f"{name}_out"
        command = [str(tmp_path / name), "--output", str(out), "--outputs", "labels", "images"]
        assert predict_masks.main([*command, *how]) == 0
        assert main([str(out), "--output", str(tmp_path / f"{name}_chosen")]) == 0
        found = find_data_set(tmp_path / f"{name}_chosen")
        (sample,) = found.samples
        image = sample.read_image()
        np.testing.assert_array_equal(image.pixels[..., 0], nuclei)
        assert image.pixel_size_um == (None if name == "plain" else (0.25, 0.25))
        assert sample.read_labels(nuclei.shape).any() and not found.problems
        (file,) = (tmp_path / f"{name}_chosen/images").iterdir()
        assert file.suffix == ".tif"


def test_relative_names_that_a_spreadsheet_would_run_are_found(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "data/images")
    with (results / "images.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    for row, name in zip(rows, ("'=1.png", "'quoted'.png"), strict=False):
        shutil.copyfile(row[1], name if name != "'=1.png" else "=1.png")
        row[1] = name
    write_table(results, rows)
    assert main([str(results), "--output", str(tmp_path / "chosen")]) == 0


def test_pictures_too_large_to_correct_are_left_out(results, tmp_path, capsys):
    table = (results / "images.csv").read_text().splitlines()
    rows = [line.split(",") for line in table[1:]]
    rows[0][3:5] = "9000", "9000"
    write_table(results, rows)
    assert main([str(results), "--output", str(tmp_path / "chosen")]) == 0
    said = capsys.readouterr()
    assert "cut out parts of drawn_00; the others are done without" in said.err and "drawn_00" not in said.out
    for row in rows:
        row[3:5] = "9000", "9000"
    write_table(results, rows)
    assert main([str(results), "--output", str(tmp_path / "none")]) == 2
    assert "cut out parts of drawn_00, drawn_01, drawn_02\n" in capsys.readouterr().err


def test_results_that_fit_their_images_no_more_are_refused(tmp_path, write_drawn, capsys):
    write_drawn(tmp_path / "data", 2)
    command = [str(tmp_path / "data/images"), "--output", str(tmp_path / "out"), "--outputs", "labels", "images"]
    assert predict_masks.main(command) == 0
    label_map = tmp_path / "out/labels/drawn_00.tif"
    own = label_map.read_bytes()
    tifffile.imwrite(label_map, tifffile.imread(label_map)[:-1])
    assert main([str(tmp_path / "out"), "--output", str(tmp_path / "chosen")]) == 2
    assert "drawn_00.tif has the shape (" in capsys.readouterr().err
    label_map.write_bytes(own)
    images = tmp_path / "data/images"
    shutil.copyfile(images / "drawn_00.png", images / "drawn_01.png")
    assert main([str(tmp_path / "out"), "--output", str(tmp_path / "chosen")]) == 2
    assert "drawn_01.png was changed after it was predicted; predict it again" in capsys.readouterr().err


def test_what_cannot_be_used_is_said_in_a_sentence(results, tmp_path, capsys):
    def refusal(*options):
        assert main([str(results), *options]) == 2
        return capsys.readouterr().err

    (tmp_path / "taken").mkdir()
    assert "exists already" in refusal("--output", str(tmp_path / "taken"))
    new = "--output", str(tmp_path / "new")
    label_map = (results / "labels/drawn_02.tif").read_bytes()
    (results / "labels/drawn_02.tif").write_bytes(label_map[:200])
    assert "drawn_02.tif claims" in refusal(*new)
    (results / "labels/drawn_02.tif").write_bytes(label_map)
    table = (results / "images.csv").read_text()
    (results / "images.csv").write_text(table.replace(",0.6,", ',"0,6",'))
    assert "images.csv holds '0,6' as expected_ap50 of drawn_01, where a number" in refusal(*new)
    (results / "images.csv").write_text(table)
    (tmp_path / "file").write_text("precious")
    assert f"{tmp_path}/file" in refusal("--output", str(tmp_path / "file" / "below"))
    assert not list(tmp_path.glob(".new-*"))
    (results / "labels/drawn_01.tif").unlink()
    assert "drawn_01.tif is not there" in refusal(*new)
    write_table(results, [["a", "a.png", "done", "96", "96", "12"]], COLUMNS[:6])
    assert "has no column expected_dice" in refusal(*new)
    write_table(results, [["a", "a.png", "failed", *[""] * 6]])
    assert "names no image that was predicted" in refusal(*new)
    (results / "images.csv").unlink()
    assert "images.csv cannot be read" in refusal(*new)
    assert not (tmp_path / "new").exists()

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from segmentation.atomic import written_whole
from segmentation.batch.folder import FolderError, predict_folder
from segmentation.batch.inputs import Shard, find_inputs
from segmentation.batch.outputs import ImageOutput, TableOutput
from segmentation.data.images import read_image
from segmentation.data.normalisation import Normalisation
from segmentation.prediction.predictor import Predictor

pytestmark = pytest.mark.slow


class BrightEngine:
    """Bright is foreground."""

    name, precision, version, streams, batch_pixels = "bright", "f32", "1", 1, 8 * 256 * 256

    def __init__(self):
        self.tiles = 0

    def __call__(self, tiles):
        self.tiles += len(tiles)
        return tiles.mean(axis=-1, keepdims=True)


def make_predictor(threshold=0.5, engine=None):
    return Predictor(
        engine or BrightEngine(),
        Normalisation(),
        divisor=4,
        margin=4,
        decode=lambda channels, cut=None: ndimage.label(channels[..., 0] > threshold)[0].astype(np.int32),
        settings={"threshold": threshold},
    )


def write_png(path, array):
    with written_whole(path) as part:
        part.write_bytes(cv2.imencode(".png", array)[1].tobytes())


OUTPUTS = {
    "masks": ImageOutput("masks", ".png", lambda path, p: write_png(path, np.uint8(p.labels > 0) * 255)),
    "labels": ImageOutput("labels", ".png", lambda path, p: write_png(path, p.labels.astype(np.uint16))),
    "table": TableOutput(
        "nuclei.csv",
        ("image", "label", "area"),
        lambda p: [(p.name, i, int((p.labels == i).sum())) for i in range(1, p.labels.max() + 1)],
    ),
}


def draw(file, seed, shape=(40, 48)):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 30, shape, dtype=np.uint8)
    for row, column in rng.integers(0, np.array(shape) - 6, (1 + seed % 5, 2)):
        image[row : row + 5, column : column + 5] = 200
    write_png(file, image)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(12):
        draw(folder / f"cell{seed:02}.png", seed, (40, 48) if seed % 3 else (64, 64))
    return folder


def go(images, output, predictor=None, outputs=OUTPUTS, **options):
    return predict_folder(find_inputs([str(images)]), output, predictor or make_predictor(), outputs, **options)


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


def contents(folder):
    """All that a call leaves, but for the timings."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith("summary")
    }


def test_each_image_gets_its_files_and_rows(images, tmp_path):
    outcomes = go(images, tmp_path / "out")
    assert statuses(outcomes) == ["done"] * 12
    rows = list(csv.DictReader((tmp_path / "out" / "nuclei.csv").open()))
    expected = []
    for outcome in outcomes:
        image = read_image(outcome.input.file)
        labels = make_predictor()(image)
        assert outcome.nuclei == labels.max() > 0
        stored = cv2.imread(str(tmp_path / "out" / "labels" / f"{outcome.input.name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(stored, labels)
        expected += [(outcome.input.name, str(label)) for label in range(1, labels.max() + 1)]
    assert [(row["image"], row["label"]) for row in rows] == expected
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"] == {"all": 12, "done": 12, "skipped": 0, "failed": 0}
    assert summary["nuclei"] == len(rows)
    assert summary["settings"] == {"threshold": 0.5}
    assert summary["seconds"].keys() == {"total", "read", "predict", "decode", "write"}
    assert summary["libraries"]["bright"] == "1"


def test_finished_images_are_skipped_and_the_result_is_the_same(images, tmp_path):
    go(images, tmp_path / "out")
    before = contents(tmp_path / "out")
    engine = BrightEngine()
    outcomes = go(images, tmp_path / "out", make_predictor(engine=engine))
    assert statuses(outcomes) == ["skipped"] * 12
    assert sum(outcome.nuclei for outcome in outcomes) > 0
    assert engine.tiles == 0
    assert contents(tmp_path / "out") == before


def test_what_changed_is_done_again(images, tmp_path):
    go(images, tmp_path / "out")
    old = (images / "cell03.png").stat()
    draw(images / "cell03.png", 4, (64, 64))
    os.utime(images / "cell03.png", ns=(old.st_atime_ns, old.st_mtime_ns))  # times prove nothing
    os.utime(images / "cell05.png")
    (tmp_path / "out" / "masks" / "cell07.png").unlink()
    (tmp_path / "out" / "labels" / "cell08.png").write_bytes(b"")
    outcomes = go(images, tmp_path / "out")
    assert [o.input.name for o in outcomes if o.status == "done"] == ["cell03", "cell07", "cell08"]
    assert statuses(go(images, tmp_path / "out", make_predictor(0.4))) == ["done"] * 12
    assert statuses(go(images, tmp_path / "out", make_predictor(0.4), overwrite=True)) == ["done"] * 12
    go(images, tmp_path / "fresh", make_predictor(0.4))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_an_output_more_is_added_and_other_settings_leave_nothing_stale(images, tmp_path):
    masks = {"masks": OUTPUTS["masks"]}
    go(images, tmp_path / "out", outputs=masks)
    assert not (tmp_path / "out" / "nuclei.csv").exists()
    assert statuses(go(images, tmp_path / "out")) == ["done"] * 12
    assert statuses(go(images, tmp_path / "out", outputs=masks)) == ["skipped"] * 12
    go(images, tmp_path / "out", make_predictor(0.4), outputs=masks)
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 12
    assert list((tmp_path / "out" / "labels").iterdir()) == [], "made with another threshold"


def test_bad_images_do_not_stop_the_others_and_are_reported_at_once(images, tmp_path):
    go(images, tmp_path / "out")
    good = (images / "cell02.png").read_bytes()
    (images / "cell02.png").write_bytes(good[: len(good) // 2])
    (images / "cell04.png").write_bytes(b"")
    (images / "note.tif").write_text("this is no image")
    reported = []
    outcomes = go(images, tmp_path / "out", report=reported.append)
    failed = {o.input.name: o.reason for o in outcomes if o.status == "failed"}
    assert failed.keys() == {"cell02", "cell04", "note"}
    for name, reason in failed.items():
        assert name in reason
        assert "\n" not in reason
    assert sorted(reported, key=lambda o: o.input.name) == outcomes
    assert not (tmp_path / "out" / "masks" / "cell02.png").exists(), "it is of another image"
    rows = list(csv.DictReader((tmp_path / "out" / "nuclei.csv").open()))
    assert {row["image"] for row in rows} == {o.input.name for o in outcomes if o.status == "skipped"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"]["failed"] == 3
    assert [failure["reason"] for failure in summary["failures"]] == list(failed.values())


def test_values_that_are_no_numbers_are_said_and_hold_no_nuclei(tmp_path):
    pixels = np.zeros((60, 60), np.float32)
    pixels[5:15, 5:15] = pixels[30:40, 30:40] = 1
    pixels[50:] = np.nan
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "stitched.tif", pixels)
    (outcome,) = go(tmp_path / "images", tmp_path / "out")
    assert (outcome.status, outcome.nuclei) == ("done", 2)
    assert outcome.reason.endswith("stitched.tif holds 600 values that are NaN or infinite, taken for background")


def test_what_is_refused_leaves_the_results_of_an_earlier_call(images, tmp_path):
    """The content is the same, and nothing was written: it is the option that was wrong."""
    go(images, tmp_path / "out")
    before = contents(tmp_path / "out")

    def refuses(tiles):
        raise ValueError("there is no such way")

    refuses.name, refuses.precision, refuses.version = "refuses", "f32", "1"
    refuses.streams, refuses.batch_pixels = 1, 8 * 256 * 256
    outcomes = go(images, tmp_path / "out", make_predictor(0.4, refuses), {"masks": OUTPUTS["masks"]})
    assert statuses(outcomes) == ["failed"] * 12
    after = contents(tmp_path / "out")
    assert {name: before[name] for name in after} == after
    assert before.keys() - after.keys() == {"nuclei.csv"}, "a table tells of the last call"


def test_a_file_that_cannot_be_read_keeps_its_results_but_is_not_in_the_table(images, tmp_path):
    go(images, tmp_path / "out")
    (images / "cell02.png").rename(tmp_path / "elsewhere.png")
    (images / "cell02.png").symlink_to(tmp_path / "nowhere.png")
    outcomes = go(images, tmp_path / "out")
    (failed,) = (outcome for outcome in outcomes if outcome.status == "failed")
    assert failed.reason.startswith(f"{images / 'cell02.png'} does not exist")
    assert (tmp_path / "out" / "masks" / "cell02.png").exists()
    rows = list(csv.DictReader((tmp_path / "out" / "nuclei.csv").open()))
    assert {row["image"] for row in rows} == {o.input.name for o in outcomes if o.status == "skipped"}


def test_results_of_another_image_of_that_name_are_not_replaced_unasked(images, tmp_path):
    go(images, tmp_path / "out")
    before = contents(tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    draw(other / "cell03.png", 77)
    (other / "cell04.png").write_bytes((images / "cell04.png").read_bytes())
    outcomes = go(other, tmp_path / "out")
    assert statuses(outcomes) == ["failed", "skipped"]
    assert outcomes[0].reason == (
        f"{other / 'cell03.png'}: {tmp_path / 'out'} holds results of another image of the name cell03, "
        f"{images / 'cell03.png'}; name another folder with --output, or replace them with --overwrite"
    )
    kept = contents(tmp_path / "out")
    assert all(kept[name] == before[name] for name in before if name != "nuclei.csv")
    assert statuses(go(other, tmp_path / "out", overwrite=True)) == ["done", "done"]


def test_a_bad_file_of_that_name_elsewhere_leaves_them_and_so_does_a_disk_that_is_full(images, tmp_path):
    tifffile.imwrite(images / "slide.tif", np.zeros((40, 50), np.uint8))
    go(images, tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    tifffile.imwrite(other / "slide.tif", np.zeros((3, 40, 50), np.uint8), photometric="minisblack")
    assert statuses(go(other, tmp_path / "out", largest_whole=0)) == ["failed"]
    assert (tmp_path / "out" / "masks" / "slide.png").exists()

    def no_room(path, prediction):
        raise OSError(28, "No space left on device")

    more = {"masks": OUTPUTS["masks"], "overlays": ImageOutput("overlays", ".png", no_room)}
    assert statuses(go(images, tmp_path / "out", outputs=more)) == ["failed"] * 13
    assert statuses(go(images, tmp_path / "out")) == ["skipped"] * 13


def test_tables_of_other_settings_are_removed_although_they_are_not_asked_for(images, tmp_path):
    masks = {"masks": OUTPUTS["masks"]}
    go(images, tmp_path / "out")
    go(images, tmp_path / "out", outputs=masks)
    assert (tmp_path / "out" / "nuclei.csv").exists(), "it is as true as before"
    go(images, tmp_path / "out")
    go(images, tmp_path / "out", make_predictor(0.4), outputs=masks)
    assert not (tmp_path / "out" / "nuclei.csv").exists()


def test_a_table_that_cannot_be_written_at_the_end_is_said_and_the_images_are_kept(images, tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("segmentation.batch.tables.written_whole", full)
        with pytest.raises(FolderError, match=r"Tables and summary cannot .* \(No space left on device\); the images"):
            go(images, tmp_path / "out")
    assert statuses(go(images, tmp_path / "out")) == ["skipped"] * 12


def test_several_callers_give_what_one_gives(images, tmp_path):
    (images / "bad.png").write_bytes(b"no image")
    for streams in (1, 3):
        engine = BrightEngine()
        engine.streams = streams
        outcomes = go(images, tmp_path / str(streams), make_predictor(engine=engine))
        assert sorted(statuses(outcomes)) == ["done"] * 12 + ["failed"]
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


@pytest.mark.parametrize("stage", ["engine", "decode", "write"])
def test_an_unexpected_error_is_one_sentence_and_leaves_nothing(images, tmp_path, stage):
    def fails(*_):
        raise RuntimeError("something\nhas no room")

    predictor, outputs = make_predictor(), dict(OUTPUTS)
    if stage == "engine":
        predictor = make_predictor(engine=fails)
        fails.name, fails.precision, fails.version = "fails", "f32", "1"
        fails.streams, fails.batch_pixels = 1, 8 * 256 * 256
    elif stage == "decode":
        predictor = Predictor(BrightEngine(), Normalisation(), 4, 4, fails, {})
    else:
        outputs["labels"] = ImageOutput("labels", ".png", fails)
    outcomes = go(images, tmp_path / "out", predictor, outputs)
    assert statuses(outcomes) == ["failed"] * 12
    assert all("cell" in o.reason and "something has no room" in o.reason for o in outcomes)
    assert (tmp_path / "out" / "nuclei.csv").read_text() == "image,label,area\n"


def test_what_a_killed_process_had_begun_is_cleared_away_and_nothing_else(images, tmp_path):
    masks = tmp_path / "out" / "masks"
    go(images, tmp_path / "out")
    begun = [
        masks / ".cell01.part.png",
        tmp_path / "out" / ".records" / ".a.part.json",
        tmp_path / "out" / ".nuclei.0123abcd.part.csv",
    ]
    others = [masks / ".gitignore", masks / ".cell.png"]
    for file in begun + others:
        file.write_bytes(b"")
    go(images, tmp_path / "out", shard=Shard(1, 2))
    assert all(file.exists() for file in begun), "another shard may be at it"
    go(images, tmp_path / "out")
    assert not any(file.exists() for file in begun)
    assert all(file.exists() for file in others)


def test_equal_stems_are_kept_apart(images, tmp_path):
    draw(images / "cell01.bmp", 9)
    outcomes = go(images, tmp_path / "out")
    assert {"cell01_bmp", "cell01_png"} <= {o.input.name for o in outcomes}
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 13


@pytest.mark.parametrize("count", [2, 5])
def test_shards_share_the_work_and_the_last_leaves_the_whole_table(images, tmp_path, count):
    go(images, tmp_path / "whole")
    done = []
    for number in range(1, count + 1):
        done += go(images, tmp_path / "out", shard=Shard(number, count))
        assert (tmp_path / "out" / f"summary-{number}-of-{count}.json").exists()
    assert sorted(o.input.name for o in done) == [f"cell{i:02}" for i in range(12)]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_shards_that_end_at_once_do_not_disturb_each_other(images, tmp_path, monkeypatch):
    go(images, tmp_path / "whole")
    both, calls = threading.Barrier(2), itertools.count()

    def at_once(file):
        """Both shards have begun to write the table before either has written it."""
        if file.name == "nuclei.csv" and next(calls) < 2:
            both.wait(timeout=60)
        return written_whole(file)

    monkeypatch.setattr("segmentation.batch.joining.written_whole", at_once)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(go, images, tmp_path / "out", shard=Shard(number, 2)) for number in (1, 2)]:
            assert {outcome.status for outcome in done.result()} == {"done"}
    assert next(calls) > 2
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_name_that_is_no_text_is_kept(tmp_path):
    name = os.fsdecode(b"cell \xff")
    try:
        draw(tmp_path / "a.png", 3)
        (tmp_path / "a.png").rename(tmp_path / f"{name}.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    outcomes = go(tmp_path / f"{name}.png", tmp_path / "out")
    assert statuses(outcomes) == ["done"]
    table = (tmp_path / "out" / "nuclei.csv").read_bytes().splitlines()
    assert len(table) == 1 + outcomes[0].nuclei > 1 and table[1].startswith(b"cell \xff,1,")


def test_an_output_folder_that_cannot_be_written_is_refused(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        go(images, tmp_path / "file")
    with pytest.raises(FolderError, match="cannot be written"):
        go(images, tmp_path / "file" / "below")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that nobody may write to")
def test_a_read_only_file_system_is_refused(images):
    with pytest.raises(FolderError, match="cannot be written"):
        go(images, Path("/proc/predictions"))


def test_files_of_others_are_not_overwritten(tmp_path):
    """A data set may be laid out as images/ beside masks/: with --output there, the truth would be lost."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        draw(tmp_path / name / "a.png", 1)
    before = contents(tmp_path)
    with pytest.raises(FolderError, match="no prediction wrote"):
        go(tmp_path, tmp_path)
    assert contents(tmp_path) == before
    (tmp_path / "nuclei.csv").write_text("precious")
    before = contents(tmp_path)
    go(tmp_path, tmp_path, outputs={"labels": OUTPUTS["labels"]})  # which needs neither masks/ nor the table
    for key, said in (("masks", "holds files that no prediction wrote"), ("table", "was written by no prediction")):
        with pytest.raises(FolderError, match=said):
            go(tmp_path, tmp_path, outputs={"labels": OUTPUTS["labels"], key: OUTPUTS[key]}, overwrite=True)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_a_summary_of_others_is_not_overwritten(images, tmp_path):
    for file, shard in (("summary.json", None), ("summary-1-of-2.json", Shard(1, 2))):
        out = tmp_path / file.partition(".")[0]
        out.mkdir()
        (out / file).write_text("precious")
        with pytest.raises(FolderError, match=f"{file} was written by no prediction"):
            go(images, out, shard=shard)
        assert [entry.read_text() for entry in out.rglob("*")] == ["precious"]


def test_results_of_earlier_versions_without_marks_are_those_of_a_prediction(images, tmp_path):
    go(images, tmp_path / "out")
    marks = list((tmp_path / "out" / ".records").glob("*.own"))
    assert {mark.name for mark in marks} == {"masks.own", "labels.own", "nuclei.csv.own"}
    for mark in marks:
        mark.unlink()
    assert statuses(go(images, tmp_path / "out", make_predictor(0.6))) == ["done"] * 12


SLOW = """
    import sys, time
    from pathlib import Path
    from tests.batch.test_folder import BrightEngine, go, make_predictor

    class Slow(BrightEngine):
        def __call__(self, tiles):
            time.sleep(0.1)
            return super().__call__(tiles)

    go(Path(sys.argv[1]), Path(sys.argv[2]), make_predictor(engine=Slow()), report=lambda outcome: print(flush=True))
"""


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_the_middle_nothing_is_broken_and_nothing_finished_is_done_twice(tmp_path, seed):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(40):
        draw(folder / f"{index:02}.png", index, (64, 64 + 4 * (index % 20)))
    command = [sys.executable, "-c", textwrap.dedent(SLOW), str(folder), str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    for _ in range(3 + 3 * seed):
        process.stdout.readline()
    time.sleep(0.013 * seed)
    process.send_signal(signal.SIGKILL)
    process.wait()

    finished = {file.stem for file in (tmp_path / "out" / ".records").glob("[0-9]*.json")}
    assert 3 <= len(finished) < 40
    assert not (tmp_path / "out" / "nuclei.csv").exists()
    for file in (tmp_path / "out" / "masks").glob("[!.]*"):
        assert cv2.imread(str(file)) is not None
    outcomes = go(folder, tmp_path / "out")
    assert {o.input.name for o in outcomes if o.status == "skipped"} == finished
    go(folder, tmp_path / "undisturbed")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")

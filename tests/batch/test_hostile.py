"""What others leave in a folder of images or of results: nothing hangs, reaches outside, or stops the rest."""

import csv
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from segmentation.batch.folder import FolderError, predict_folder
from segmentation.batch.inputs import find_inputs, unique_names
from segmentation.batch.locks import shared_lock
from segmentation.batch.outputs import PageOutput
from segmentation.batch.records import RECORDS, Records, natural_order
from segmentation.prediction.predictor import Predictor
from segmentation.results import images_csv
from tests.batch.test_folder import (
    OUTPUTS,
    BrightEngine,
    contents,
    draw,
    go,
    images,
    make_predictor,
    statuses,
)

pytestmark = pytest.mark.slow

__all__ = ["images"]
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
RESTS = [
    *(f'{nuclei}, "files": {{}}}}' for nuclei in ("null", "-1", "true", "1e400", "1" * 5000)),
    *(f'1, "files": {files}}}' for files in ("null", '{"masks": null}', '{"masks": {"masks/cell03.png": null}}')),
    '1, "files": {"masks": {"masks/cell03.\\u0000/a": 1}}}',
]
PAGE = PageOutput(
    "page.html", lambda p: {"nuclei": p.nuclei}, None, lambda file, *rest: file.write_text("page"), {"nuclei": int}
)


def change(out, name, **values):
    file = out / RECORDS / f"{name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    "where", ["absolute", "above", "root", "link", "folder link", "of another image", "in the folder"]
)
def test_a_record_removes_no_file_but_those_of_its_image(images, tmp_path, where):
    out, victim = tmp_path / "out", tmp_path / "cell03.txt"
    go(images, out)
    if where in ("of another image", "in the folder"):
        victim = out / ("masks/cell04.png" if where == "of another image" else "cell03.txt")
    victim.write_bytes(b"12345")
    if where == "link":
        (out / "masks" / "cell03.link").symlink_to(victim)
    if where == "folder link":
        (out / "linked").symlink_to(tmp_path)
    name = {
        "absolute": str(victim),
        "above": "../cell03.txt",
        "root": "/cell03.txt",
        "link": "masks/cell03.link",
        "folder link": "linked/cell03.txt",
        "of another image": "masks/cell04.png",
        "in the folder": "cell03.txt",
    }[where]
    change(out, "cell03", files={"masks": {name: 5}, "labels": {}})
    assert Records(out).load("cell03") is None or where == "link"
    Records(out).discard("cell03")
    go(images / "cell03.png", out, make_predictor(0.4))
    assert victim.read_bytes() == b"12345"


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        "null",
        "[" * 100_000,
        "1e999",
        '{"name": null}',
        '"\ud800"',
        *('{"name": "cell03", "input": "a", "sha256": "b", "settings": {}, "nuclei": ' + rest for rest in RESTS),
    ],
)
def test_damaged_state_counts_as_not_there(images, tmp_path, text):
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    go(images, fresh)
    go(images, out)
    for file in (out / RECORDS / "cell03.json", out / "summary.json", out / "summary-2-of-2.json"):
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcomes = go(images, out)
    assert sorted(statuses(outcomes)) == ["done"] + ["skipped"] * 11
    assert contents(out) == contents(fresh)


@pytest.mark.parametrize(
    "tables", [None, "nuclei.csv", [None], ["../cell.txt", "masks", "..", ""], {"a": 1}], ids=lambda value: str(value)
)
def test_tables_of_a_summary_stay_in_the_folder(images, tmp_path, tables):
    go(images, tmp_path / "out")
    (tmp_path / "cell.txt").write_text("")
    summary = tmp_path / "out" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"tables": tables, "settings": {}}))
    assert statuses(go(images, tmp_path / "out")) == ["skipped"] * 12
    assert (tmp_path / "cell.txt").exists()


@pytest.mark.parametrize("part", ["table", "page"])
def test_an_image_whose_part_of_a_table_or_page_is_damaged_is_done_again(images, tmp_path, part):
    out, outputs = tmp_path / "out", OUTPUTS | {"page": PAGE}
    go(images, out, outputs=outputs)
    before = contents(out)
    file = out / outputs[part].part_file("cell03")
    file.write_bytes(b'"' * file.stat().st_size)
    outcomes = go(images, out, outputs=outputs)
    assert [outcome.input.name for outcome in outcomes if outcome.status == "done"] == ["cell03"]
    assert contents(out) == before


def test_a_folder_of_results_that_is_a_link_to_elsewhere_is_refused(images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "masks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="masks is a link to a folder outside"):
        go(images, tmp_path / "out")


def test_pipes_and_links_in_a_circle_are_failed_images(images, tmp_path):
    os.mkfifo(images / "cell00a.png")
    os.mkfifo(tmp_path / "pipe")
    (images / "cell05a.png").symlink_to(tmp_path / "pipe")
    (images / "cell06a.png").symlink_to(images / "cell06a.png")
    (images / "cell07a.png").symlink_to("/dev/zero")
    outcomes = predict_folder(
        find_inputs([str(images), str(tmp_path / "pipe")]), tmp_path / "out", make_predictor(), OUTPUTS
    )
    failed = {outcome.input.name: outcome.reason for outcome in outcomes if outcome.status == "failed"}
    assert failed.keys() == {"cell00a", "cell05a", "cell06a", "cell07a"}, "each file once"
    assert all(len(reason.splitlines()) == 1 and str(images.parent) in reason for reason in failed.values())
    assert "is a pipe, a socket or a device, where an image file was expected" in failed["cell05a"]
    assert statuses(outcomes).count("done") == 12


def test_an_image_that_became_a_pipe_fails_and_keeps_its_results(images, tmp_path):
    go(images, tmp_path / "out")
    (images / "cell03.png").unlink()
    os.mkfifo(images / "cell03.png")
    assert statuses(go(images, tmp_path / "out")).count("skipped") == 11
    assert (tmp_path / "out" / "masks" / "cell03.png").exists()


STRANGE = ["=cmd()", "+1+1", "@SUM(1+1)", "-1", "a\rb", "a\nb", "a\x1b[31m", "a\u2028b", "l" * 251, "é" * 125 + "x"]


def test_strange_names_are_safe_in_tables_and_are_given_back(images, tmp_path, monkeypatch):
    folder = tmp_path / "strange"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in STRANGE:
        (folder / f"{name}.png").write_bytes((images / "cell03.png").read_bytes())
    (folder / "=bad\r.png").write_bytes(b"")
    outputs = OUTPUTS | {"images": images_csv.OUTPUT}
    outcomes = predict_folder(find_inputs(["*.png"]), tmp_path / "out", make_predictor(), outputs)
    names = {outcome.input.name for outcome in outcomes}
    assert statuses(outcomes).count("done") == len(STRANGE) == len(names) - 1
    for table in ("nuclei.csv", "images.csv"):
        with (tmp_path / "out" / table).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["image"] for row in rows} == names - ({"_=bad_"} if table == "nuclei.csv" else set())
        assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
        text = (tmp_path / "out" / table).read_bytes().decode()
        assert table == "images.csv" or len(text.splitlines()) == 1 + len(rows)
    files = {row["file"].removeprefix("'") for row in rows}
    assert files == {f"{name}.png" for name in [*STRANGE, "=bad\r"]}
    (failure,) = json.loads((tmp_path / "out" / "summary.json").read_text())["failures"]
    assert failure["file"] == "=bad\r.png" and failure["reason"].startswith("=bad\\r.png is empty")


def test_safe_names():
    names = unique_names([(name, f"{name}.png") for name in STRANGE])
    assert names[:8] == ["_=cmd()", "_+1+1", "_@SUM(1+1)", "_-1", "a_b_png_1", "a_b_png_2", "a_[31m", "a_b_png_3"]
    assert [len(os.fsencode(name)) for name in names[8:]] == [200, 200]
    same = unique_names([("n" * 251 + str(number), f"{number}.png") for number in range(12)])
    assert len(set(same)) == 12 and max(map(len, same)) <= 200


def test_names_with_a_digest_sort_as_text():
    digests = [f"{start}{'d' * 40}" for start in ("00710", "0b1", "10a", "9f2")]
    assert sorted(reversed(digests), key=natural_order) == digests
    assert sorted(["cell10", *digests, "cell9"], key=natural_order) == [*digests, "cell9", "cell10"]


def test_an_image_too_large_for_the_memory_left_takes_no_other_with_it(images, tmp_path):
    draw(images / "cell02large.png", 3, (400, 400))
    in_memory = []

    def decode(channels, cut=None):
        """Lack memory as long as others are in memory, and always for the large image."""
        if len(channels) == 400 or len(in_memory) < 6:
            in_memory.append(len(channels))
            raise MemoryError
        return make_predictor().decode(channels, cut)

    predictor = Predictor(BrightEngine(), make_predictor().normalisation, 4, 4, decode, {"threshold": 0.5})
    outcomes = go(images, tmp_path / "out", predictor)
    (failed,) = (outcome for outcome in outcomes if outcome.status == "failed")
    assert failed.input.name == "cell02large" and "has 400 x 400 pixels, for which 0.0 GB" in failed.reason
    assert statuses(outcomes).count("done") == 12


AT_ONCE = """
    import sys, time
    from pathlib import Path
    from tests.batch.test_folder import BrightEngine, go, make_predictor, statuses

    class Slow(BrightEngine):
        def __call__(self, tiles):
            time.sleep(0.02)
            return super().__call__(tiles)

    assert set(statuses(go(Path(sys.argv[1]), Path(sys.argv[2]), make_predictor(engine=Slow())))) <= {"done", "skipped"}
"""


def test_calls_on_one_folder_at_once_leave_what_one_leaves(images, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(AT_ONCE), str(images), str(tmp_path / "out")]
    calls = [subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[1].decode() for process in calls] == ["", "", ""]
    go(images, tmp_path / "one")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_unfinished_files_stay_while_another_call_works(images, tmp_path):
    go(images, tmp_path / "out")
    begun = tmp_path / "out" / "masks" / ".0123abcd.part.png"
    begun.write_bytes(b"")
    with shared_lock(tmp_path / "out" / RECORDS / "lock", lambda: None):
        assert statuses(go(images, tmp_path / "out")) == ["skipped"] * 12
        assert begun.exists()
    go(images, tmp_path / "out")
    assert not begun.exists()


def test_a_lock_that_is_a_pipe_or_a_link_does_not_hang(images, tmp_path):
    (tmp_path / "out" / RECORDS).mkdir(parents=True)
    (tmp_path / "out" / RECORDS / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="cannot be written to"):
        go(images, tmp_path / "out")
    assert not (tmp_path / "elsewhere").exists()


def test_a_record_that_is_a_pipe_counts_as_not_there(tmp_path):
    (tmp_path / RECORDS).mkdir()
    os.mkfifo(tmp_path / RECORDS / "a.json")
    assert Records(tmp_path).load("a") is None and list(Records(tmp_path).all()) == []
    assert np.all([not Records(tmp_path).is_intact(".records/a.json", 0)])

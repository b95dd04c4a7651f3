import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segmentation.atomic import STALE_SECONDS, folder_written_whole, is_unfinished, written_whole


def test_replaces_the_file_and_leaves_nothing_else(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("before")
    with written_whole(file) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".txt")
        temporary.write_text("after")
        assert file.read_text() == "before"
    assert file.read_text() == "after"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failure_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("before")
    with pytest.raises(RuntimeError), written_whole(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "folder").mkdir()
    for file in (tmp_path / "folder", tmp_path / "missing" / "a.txt"):
        with pytest.raises(OSError) as error, written_whole(file) as temporary:
            temporary.write_text("whole")
        assert error.value.filename == str(file) and "part" not in str(error.value)
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_a_kill_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("before")
    code = (
        "import os, pathlib, sys\n"
        "from segmentation.atomic import written_whole\n"
        "with written_whole(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.abort()\n"
    )
    assert subprocess.run([sys.executable, "-c", code, file], cwd=Path(__file__).parents[2]).returncode != 0
    assert file.read_text() == "before"
    with written_whole(file) as temporary:
        temporary.write_text("after")
    assert file.read_text() == "after"
    assert [left for left in tmp_path.iterdir() if not is_unfinished(left)] == [file]


def test_a_name_may_be_as_long_as_names_may_be(tmp_path):
    file = tmp_path / f"{'a' * 251}.txt"
    with written_whole(file) as temporary:
        temporary.write_text("whole")
    assert file.read_text() == "whole"


def test_two_may_write_one_file_at_once(tmp_path):
    file = tmp_path / "a.txt"
    with written_whole(file) as one:
        one.write_text("one, half")
        with written_whole(file) as other:
            other.write_text("other")
        assert file.read_text() == "other"
        one.write_text("one")
    assert file.read_text() == "one"
    assert list(tmp_path.iterdir()) == [file]


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole(tmp_path):
    with folder_written_whole(tmp_path / "new" / "out") as new:
        (new / "a.txt").write_text("a")
        assert not (tmp_path / "new" / "out").exists()
    assert entries(tmp_path / "new") == ["out"] and entries(tmp_path / "new" / "out") == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_no_folder(tmp_path, error):
    with pytest.raises(error), folder_written_whole(tmp_path / "out") as new:
        (new / "a.txt").write_text("half")
        raise error
    assert entries(tmp_path) == []


def test_a_folder_that_cannot_get_its_name_is_an_error(tmp_path, monkeypatch):
    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"), folder_written_whole(tmp_path / "out"):
        pass
    assert entries(tmp_path) == []


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path):
    for name, age in ((".out-old", STALE_SECONDS + 60), (".out-new", 60), ("out-x", STALE_SECONDS + 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with folder_written_whole(tmp_path / "out"):
        pass
    assert entries(tmp_path) == [".out-new", "out", "out-x"]


def test_another_process_may_finish_its_folder_first(tmp_path):
    with folder_written_whole(tmp_path / "out") as new:
        (new / "ours.txt").write_text("1")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs.txt").write_text("1")
    assert entries(tmp_path / "out") == ["theirs.txt"] and entries(tmp_path) == ["out"]

import subprocess
import sys
from pathlib import Path

import pytest

from segmentation.atomic import is_unfinished, written_whole


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

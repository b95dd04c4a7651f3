"""Locks of an output folder, held by other processes: whoever waits for one says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from segmentation.batch.call import Call
from segmentation.batch.inputs import Input
from segmentation.batch.records import RECORDS
from segmentation.batch.stages import lock_on

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from segmentation.batch.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / RECORDS).mkdir()
    return tmp_path


def test_what_a_call_waits_for_is_said_and_the_lock_goes_with_its_process(folder):
    command = [sys.executable, "-c", HOLD, folder / RECORDS / "slide.blocks.lock"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        said = []

        def say(sentence):
            said.append(sentence)
            other.kill()

        with lock_on(Call(folder, None, {}, say=say), Input("slide", folder / "slide.tif")):
            other.wait()
    assert said == [f"{folder / 'slide.tif'}: another call is at work on it in this folder; this one waits for that"]


def test_nothing_is_said_of_a_lock_that_is_free_or_a_file_system_without_any(folder, monkeypatch):
    pytest.importorskip("fcntl")
    said = []
    call, slide = Call(folder, None, {}, say=said.append), Input("slide", folder / "slide.tif")
    with lock_on(call, slide):
        pass

    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with lock_on(call, slide):
        assert said == []

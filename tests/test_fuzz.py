"""A few hundred cases of benchmarks/fuzz.py, and that it tells what is wrong. Run more: python benchmarks/fuzz.py"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.mutations import make_inputs, mutate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


def cases(tmp_path, *options):
    command = [sys.executable, ROOT / "benchmarks" / "fuzz.py", "--seed", "1", "--keep", tmp_path / "kept", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "kept").exists()


@pytest.mark.slow
def test_damaged_pictures_give_an_image_or_one_sentence(tmp_path):
    cases(tmp_path, "--count", "320")


@pytest.mark.slow
def test_damaged_models_run_or_are_refused_in_one_sentence(tmp_path):
    cases(tmp_path, "--count", "30", "--formats", "bundle")


def open_outside(path):
    (path.parent.parent / "secret.tif").read_bytes()
    return "image"


def say_more(path):
    os.write(2, b"a warning")
    return "image"


def take_memory(path):
    return str(len(bytes(2 << 30)))


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (lambda path: "image", "ok"),
        (lambda path: "BAD two\nlines", "refusal"),
        (lambda path: time.sleep(60), "hangs"),
        (lambda path: os.kill(os.getpid(), signal.SIGSEGV), "dies"),
        (lambda path: 1 / 0, "traceback"),
        (open_outside, "opens another file"),
        (say_more, "output"),
        (take_memory, "traceback"),
    ],
)
def test_what_is_wrong_is_told(task, kind, tmp_path):
    path = fuzz.write_input({"image.tif": b"content"}, tmp_path / "case")
    assert fuzz.examine(task, path, seconds=2)[0] == kind


def test_undamaged_inputs_are_read(inputs, tmp_path):
    assert inputs.keys() == set(fuzz.FORMATS)
    outcomes = {}
    for name in fuzz.FORMATS[:-1]:
        for number, files in enumerate(inputs[name]):
            path = fuzz.write_input(files, tmp_path / f"{name}-{number}")
            outcomes[name, number] = fuzz.read_picture(path)
    refused = {case: sentence for case, sentence in outcomes.items() if sentence != "image"}
    # In colour without black or in JPEG, neither of which a label map can be.
    assert all("label" in sentence for sentence in refused.values()), refused
    assert len(outcomes) - len(refused) >= 15


def test_a_case_is_the_same_again(inputs):
    for name, own in inputs.items():
        damaged = [mutate(own[0], np.random.default_rng([3, number])) for number in range(50)]
        assert damaged == [mutate(own[0], np.random.default_rng([3, number])) for number in range(50)]
        assert sum(files != own[0] for files in damaged) > 40, name

"""submission.csv, read and scored as the competition says, without any of this project's code.

https://www.kaggle.com/c/data-science-bowl-2018/overview/evaluation: pairs of a start and a length, starts from 1, down
the columns one after the other, pairs in order, no pixel twice in an image. The score of an image is the mean over the
thresholds 0.5, 0.55, ... 0.95 of TP / (TP + FP + FN), where a nucleus is found if its IoU is above the threshold.
"""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.programs.conftest import NAMES, REPOSITORY


def read_submission(file, shapes):
    with file.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["ImageId", "EncodedPixels"]
    found = {name: [] for name in shapes}
    for name, text in rows[1:]:
        height, width = shapes[name]
        pixels = np.zeros(height * width, bool)
        numbers = [int(number) for number in text.split(" ")]
        assert len(numbers) % 2 == 0
        end = 0
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            assert start > end and length > 0
            end = start + length - 1
            pixels[start - 1 : end] = True
        assert end <= len(pixels)
        found[name].append(pixels.reshape(width, height).T)
    assert all(sum(mask.astype(int) for mask in masks).max() == 1 for masks in found.values()), "a pixel is used twice"
    return found


def score(truth, masks):
    """The score of an image whose nuclei are `truth` and `masks`, lists of (H, W) bool."""
    ious = np.array([[(t & p).sum() / (t | p).sum() for p in masks] for t in truth])
    precisions = []
    for threshold in range(50, 100, 5):
        hits = ious > threshold / 100
        tp, fp, fn = hits.any(axis=0).sum(), (~hits.any(axis=0)).sum(), (~hits.any(axis=1)).sum()
        precisions.append(tp / (tp + fp + fn))
    return np.mean(precisions)


def test_the_score_is_that_of_evaluate_masks(predicted, tmp_path):
    truth = {}
    for name in NAMES:
        labels = cv2.imread(str(predicted / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        truth[name] = [labels == label for label in np.unique(labels[labels > 0])]
    shapes = {name: masks[0].shape for name, masks in truth.items()}
    found = read_submission(predicted / "results" / "submission.csv", shapes)
    expected = {name: score(truth[name], found[name]) for name in NAMES}

    (tmp_path / "truth").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / "truth" / kind).symlink_to(predicted / kind)
    command = [sys.executable, "evaluate_masks.py", predicted / "results", tmp_path / "truth"]
    command += ["--output", tmp_path / "scores.json"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {name: image["bowl"] for name, image in scores["per_image"].items()} == pytest.approx(expected)
    assert scores["figures"]["bowl"]["value"] == pytest.approx(np.mean(list(expected.values())))
    assert 0.3 < min(expected.values())

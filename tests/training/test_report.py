import base64
from dataclasses import replace

import pandas as pd
import pytest

from segmentation.training.config import TrainingConfig
from segmentation.training.report import describe_training
from segmentation.training.resume import Run
from tests.results.pages import BUNDLE, FIGURE, write_training_page_of
from tests.results.test_report_prediction import Page


def test_what_the_page_says(tmp_path):
    write_training_page_of(tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    text = " ".join(page.text.split())
    for said in ("Training of the model drawn", "Dice coefficient 0.900", "Epochs 4", "Time 1.5 min"):
        assert said in text
    for said in ("best epoch, 3,", "to 0.001 after epoch 2.", "0.850 to 0.940", "stained 0.800", "Loss bce_dice"):
        assert said in text
    assert "<b>my data</b>.zip" in text
    (source,) = (
        attributes["src"] for tag, attributes in page.elements if tag == "img" and "curves" in attributes["class"]
    )
    curves = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,")).decode()
    for said in ("Loss", "Dice of crops (pixels)", "Learning rate", "best epoch", "Epoch"):
        assert f">{said}</text>" in curves, "text, in the reader's fonts"


def test_one_image_has_no_interval(tmp_path):
    scores = BUNDLE.scores | {"figures": dict.fromkeys(BUNDLE.scores["figures"], {"value": 0.9})}
    write_training_page_of(tmp_path / "report.html", bundle=replace(BUNDLE, scores=scores))
    text = " ".join(Page(tmp_path / "report.html").text.split())
    assert "Dice coefficient 0.900" in text and "nterval" not in text


@pytest.mark.parametrize(
    ("epochs", "best", "all_epochs", "said"),
    [
        (1, 0, 100, "1 epoch in 1.5 minutes, kept the weights of epoch 1"),
        (8, 2, 100, "8 epochs in 12.0 minutes, stopped early, kept the weights of epoch 3"),
        (8, 2, 8, "8 epochs in 12.0 minutes, kept the weights of epoch 3"),
    ],
)
def test_what_came_out(tmp_path, epochs, best, all_epochs, said):
    run = Run(tmp_path, config=TrainingConfig(patience=5, epochs=all_epochs))
    history = [{"epoch": epoch, "val_loss": abs(epoch - best), "seconds": 90} for epoch in range(epochs)]
    figures = dict.fromkeys(("dice", "iou", "ap50", "mean_ap"), FIGURE) | {"bowl": {"value": 0.5}}
    text = describe_training(run, pd.DataFrame(history), {"figures": figures})
    assert text.startswith(said)
    assert "validation Dice     0.900   95 % interval 0.850 .. 0.940\n" in text
    assert "validation Bowl     0.500\n" in text


@pytest.mark.parametrize(("rates", "said"), [((0.002,) * 3, "here never."), ((4e-3, 2e-3, 1e-3), "to 0.002 after")])
def test_learning_rate_steps(tmp_path, rates, said):
    write_training_page_of(tmp_path / "report.html", rates=rates)
    assert said in Page(tmp_path / "report.html").text


@pytest.mark.parametrize("count", [1, 2, 14])
def test_best_and_worst_images(tmp_path, count):
    scores = write_training_page_of(tmp_path / "report.html", count)
    images = Page(tmp_path / "report.html").gallery["images"]
    ordered = sorted((score.dice for score in scores), reverse=True)
    expected = ordered if count < 12 else ordered[:6] + ordered[-6:]
    assert [float(image["facts"].split()[1].rstrip(",")) for image in images] == pytest.approx(expected, abs=6e-4)
    for image in images:
        assert image["picture"]["truth"]["paths"]
    assert images[0]["file"].startswith("<i>image</i>")

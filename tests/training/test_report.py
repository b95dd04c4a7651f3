import pytest

from tests.results.pages import write_training_page_of
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
    assert [tag for tag, _ in page.elements].count("polyline") == 6


@pytest.mark.parametrize(("rates", "said"), [((0.002,) * 3, "here never."), ((4e-3, 2e-3, 1e-3), "to 0.002 after")])
def test_learning_rate_steps(tmp_path, rates, said):
    write_training_page_of(tmp_path / "report.html", rates=rates)
    assert said in Page(tmp_path / "report.html").text


@pytest.mark.parametrize(
    ("count", "ranks"), [(1, ["Best"]), (2, ["Best", "Worst"]), (14, ["Best"] * 6 + ["Worst"] * 6)]
)
def test_best_and_worst_images(tmp_path, count, ranks):
    scores = write_training_page_of(tmp_path / "report.html", count)
    images = Page(tmp_path / "report.html").gallery["images"]
    assert [image["facts"].split(":")[0] for image in images] == ranks
    ordered = sorted((score.dice for score in scores), reverse=True)
    expected = ordered if count < 12 else ordered[:6] + ordered[-6:]
    assert [float(image["facts"].split()[2].rstrip(",")) for image in images] == pytest.approx(expected, abs=6e-4)
    for image in images:
        assert image["picture"]["truth"]["paths"]
    assert images[0]["file"].startswith("<i>image</i>")

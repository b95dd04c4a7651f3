import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from segmentation.bundle import load_bundle
from segmentation.exploration import report

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory, drawn_survey):
    folder = tmp_path_factory.mktemp("report")
    report.write_report(folder / "page.md", drawn_survey, load_bundle(ROOT / "models" / "nuclei"), "Drawn images")
    return folder / "page.md"


def test_the_page_has_a_finding_under_every_plot(written):
    text = written.read_text()
    assert text.startswith("# Drawn images\n")
    parts = text.split("\n## ")[1:]
    assert len(parts) == 11
    for part in parts:
        paragraphs = [line for line in part.split("\n---")[0].splitlines()[1:] if line]
        assert paragraphs[-1].endswith(".") and len(paragraphs[-1]) > 40
        assert len(paragraphs) == 1 or paragraphs[0].startswith("![")


def test_the_plots_are_there_and_no_others(written):
    named = re.findall(r"\]\((page/\w+\.png)\)", written.read_text())
    assert len(named) == len(set(named)) == 8
    assert {f"page/{file.name}" for file in (written.parent / "page").iterdir()} == set(named)
    for name in named:
        assert cv2.imread(str(written.parent / name)).shape[1] > 500


def test_the_same_data_give_the_same_bytes(written, drawn_survey, tmp_path):
    report.write_report(tmp_path / "page.md", drawn_survey, load_bundle(ROOT / "models" / "nuclei"), "Drawn images")
    for file in [written, *(written.parent / "page").iterdir()]:
        assert file.read_bytes() == (tmp_path / file.relative_to(written.parent)).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere"], "nowhere"), ([str(ROOT / "data" / "sample"), "--model", "no_model"], "no_model")],
)
def test_what_cannot_be_read_is_named(arguments, said, tmp_path, capsys):
    assert report.main([*arguments, "--output", str(tmp_path / "page.md")]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("taken", ["page.md", "page/sizes.png"])
def test_files_of_others_are_not_replaced_nor_mixed_with(taken, tmp_path, capsys):
    """The plots lie in a folder with the name of the page: that of the data, if the page has its name."""
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("precious")
    assert report.main([str(ROOT / "data" / "sample"), "--output", str(tmp_path / "page.md")]) == 2
    assert f"{tmp_path / taken.partition('/')[0]} is there already" in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.rglob("*") if file.is_file()] == ["precious"]


def test_a_report_may_be_replaced_by_another(written, monkeypatch, capsys):
    monkeypatch.setattr(report, "write_report", lambda file, *others: None)
    assert report.main([str(ROOT / "data" / "sample" / "test"), "--output", str(written)]) == 0


def test_help_needs_nothing_heavy():
    code = (
        "import runpy, sys; sys.argv = ['report', '--help']\n"
        "try: runpy.run_module('segmentation.exploration.report', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'keras', 'matplotlib', 'numpy', 'cv2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_the_page_of_the_bowl_is_up_to_date():
    """Made anew when the released model is replaced, and showing no picture of the Bowl's images."""
    text = (ROOT / "docs" / "dsb2018.md").read_text()
    assert load_bundle(ROOT / "models" / "nuclei").digest[:8] in text, (
        "the model was replaced: python -m segmentation.exploration.report DATA --output docs/dsb2018.md "
        '--title "The images of the 2018 Data Science Bowl"'
    )
    assert "664 images with 28,986 nuclei" in text and "On average 13.9 % of an image is foreground" in text
    named = set(re.findall(r"\]\(dsb2018/(\w+\.png)\)", text))
    assert named == {file.name for file in (ROOT / "docs" / "dsb2018").iterdir()}

"""exploratory_analysis.ipynb runs, and is committed as it ran.

After a change to the notebook, to what it shows or to the released model, run it again and commit it:

    python docs/notebook.py
"""

import re
from pathlib import Path

import pytest

from segmentation.bundle import load_bundle

pytestmark = pytest.mark.slow

nbformat = pytest.importorskip("nbformat", reason="needs requirements-dev.txt")
nbclient = pytest.importorskip("nbclient", reason="needs requirements-dev.txt")

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "exploratory_analysis.ipynb"
MEGABYTE = 2**20


def run(monkeypatch, **environment):
    """Run the notebook in a kernel of its own, which inherits the environment."""
    for name in ("DATA", "SPLIT", "MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": ROOT}}).execute()


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def findings(notebook):
    """What stands under each plot, in order; a cell that shows must show a plot and then a sentence."""
    found = []
    for cell in code_cells(notebook):
        if "show(" in cell.source:
            plot, text = (output.data for output in cell.outputs)
            assert "image/png" in plot or "image/jpeg" in plot
            found.append(text["text/markdown"])
    return found


def check_run(notebook):
    for number, cell in enumerate(code_cells(notebook), 1):
        assert cell.execution_count == number
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", output
    sentences = findings(notebook)
    assert len(sentences) == 13
    for sentence in sentences:
        assert re.fullmatch(r"\*\*Finding\.\*\* [^\n]+\.", sentence)


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_a_notebook_with_short_cells(committed):
    nbformat.validate(committed)
    for cell in code_cells(committed)[1:]:
        assert len(cell.source.splitlines()) <= 4, cell.source


def test_it_is_committed_as_run(committed):
    check_run(committed)
    assert NOTEBOOK.stat().st_size < 3 * MEGABYTE
    # Nothing of the machine that it ran on.
    assert str(Path.home()) not in NOTEBOOK.read_text() and "/work/" not in NOTEBOOK.read_text()


def test_it_was_run_with_the_released_model(committed):
    digest = load_bundle(ROOT / "models" / "nuclei").digest[:8]
    assert digest in "".join(findings(committed)), "the model was replaced: run the notebook again, see above"


def test_it_runs_and_finds_what_is_committed(committed, monkeypatch):
    executed = run(monkeypatch)
    check_run(executed)
    # What passes through the network or floating-point filters differs in the last digits between processors.
    of_data = [sentence for sentence in findings(committed) if not re.search("model|matches|augmented", sentence)]
    assert len(of_data) >= 10
    assert set(of_data) <= set(findings(executed))


def test_its_findings_on_the_bowl_are_those_of_independent_counts(dsb2018, monkeypatch):
    executed = run(monkeypatch, DATA=dsb2018 / "stage1_train.zip")
    check_run(executed)
    said = "\n".join(findings(executed))
    assert "664 images with 28,986 nuclei: 541 fluorescence" in said
    assert "107 stained" in said and "16 smear" in said
    assert "493 train, 68 val and 103 test (from dsb2018_split.csv)" in said
    assert "On average 13.9 % of an image is foreground" in said
    assert "9 sizes from 256 × 256 to 1388 × 1040 pixels" in said
    assert "this split divides no field" in said
    assert "On 103 test images" in said

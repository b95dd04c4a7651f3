"""What a worker of a cluster does with slides, without a cluster."""

import shutil
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed")

from segmentation.batch import worker
from segmentation.batch.call import DONE
from segmentation.batch.inputs import find_inputs
from segmentation.batch.recipe import Recipe
from segmentation.batch.records import RECORDS
from segmentation.results.formats import open_outputs
from tests.batch.test_cluster import write_slide
from tests.batch.test_folder import contents
from tests.prediction.tiny_model import write_tiny_bundle


@pytest.fixture
def go_on(tmp_path, monkeypatch):
    """Return a function that prepares a worker on which the tasks go on."""
    write_tiny_bundle(tmp_path / "model")
    (tmp_path / "out" / RECORDS).mkdir(parents=True)
    for output in "labels", "masks":
        (tmp_path / "out" / output).mkdir()
    recipe = Recipe(tmp_path / "model", "auto", None, {"diameter": None}, ("labels", "table"), open_outputs)
    settings = recipe.open(1)[0].settings

    def go_on():
        me = SimpleNamespace(address="tcp://here:1", plugins={}, state=SimpleNamespace(nthreads=1))
        plugin = worker.CallPlugin("call", recipe, {"folder": tmp_path / "out"}, None, settings, worker.code_digest())
        plugin.setup(me)
        me.plugins["call"] = plugin
        monkeypatch.setattr(worker, "get_worker", lambda: me)

    go_on()
    return go_on


def test_two_slides_of_the_same_content(go_on, tmp_path):
    write_slide(tmp_path / "in" / "a.zarr", side=300)
    shutil.copytree(tmp_path / "in" / "a.zarr", tmp_path / "in" / "b.zarr")
    sources = find_inputs([str(tmp_path / "in" / "a.zarr"), str(tmp_path / "in" / "b.zarr")])
    slides = [worker.plan_slide("call", (), source)[0] for source in sources]
    for source, slide in zip(sources, slides, strict=True):
        assert [worker.predict_block("call", (), source, slide.sha256, place)[0] for place in slide.missing] == [None]
        assert (tmp_path / "out" / RECORDS / f"{source.name}.blocks" / "0-0.npz").exists()
    for source, slide in zip(sources, slides, strict=True):
        assert worker.finish_slide("call", (), source, slide.sha256)[0].status == DONE
    rows = (tmp_path / "out" / RECORDS / "b.nuclei.rows.csv").read_text().splitlines()
    assert len(rows) > 5 and all(row.startswith("b,") for row in rows[1:])


def test_a_block_whose_worker_was_killed_when_it_had_written_it(go_on, tmp_path):
    """Another worker is given it again; by then the edges that it needs may be gone."""
    write_slide(tmp_path / "in" / "a.zarr")
    (source,) = find_inputs([str(tmp_path / "in" / "a.zarr")])
    slide, _ = worker.plan_slide("call", (), source)
    assert slide.rows > 1
    for place in slide.missing:
        assert worker.predict_block("call", (), source, slide.sha256, place)[0] is None
    blocks = tmp_path / "out" / RECORDS / "a.blocks"
    before = contents(blocks)
    assert not [name for name in before if name.startswith("0-") and name.endswith(".npy")]
    go_on()
    outcome, _ = worker.predict_block("call", (), source, slide.sha256, slide.missing[-1])
    assert outcome is None
    row, column = slide.missing[-1]
    (blocks / f"{row}-{column}.npz").unlink()
    outcome, _ = worker.predict_block("call", (), source, slide.sha256, slide.missing[-1])
    assert "FileNotFoundError" in outcome.reason, "it is not finished"

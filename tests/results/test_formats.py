import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from segmentation.batch.outputs import ImageOutput, PageOutput, TableOutput
from segmentation.results import formats
from segmentation.results.formats import FORMATS, open_outputs


def test_each_format_has_an_output_of_its_own():
    outputs = [import_module(module).OUTPUT for module, _ in FORMATS.values()]
    assert all(isinstance(output, ImageOutput | TableOutput | PageOutput) for output in outputs)
    places = [output.folder if isinstance(output, ImageOutput) else output.file for output in outputs]
    assert len(set(places)) == len(FORMATS)


def test_outputs_come_in_the_order_of_the_formats_and_images_go_with_the_table():
    assert list(open_outputs(["rle", "table", "masks"], None)) == ["masks", "table", "images", "rle"]


def test_a_page_is_told_of_the_model(monkeypatch):
    module = import_module(FORMATS["report"][0])
    told = lambda *arguments, bundle: (arguments, bundle)  # noqa: E731
    monkeypatch.setattr(module, "OUTPUT", replace(module.OUTPUT, write=told))
    assert open_outputs(["report"], "the model")["report"].write(1, 2) == ((1, 2), "the model")


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_format_that_is_asked_for_is_imported(name):
    code = (
        "import sys; from segmentation.results.formats import FORMATS, open_outputs; "
        f"open_outputs([{name!r}], None); "
        "print(*[name for name, (module, _) in FORMATS.items() if module in sys.modules])"
    )
    root = Path(formats.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    imported = set(result.stdout.split())
    needed = {"table": {"images"}, "parquet": {"table", "images"}, "report": {"overlays"}}
    assert imported - needed.get(name, set()) == {name}

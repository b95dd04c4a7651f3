import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import segmentation

ROOT = Path(__file__).parents[1]


def modules_after(code):
    """Names of the top-level modules that a fresh process has imported after `code`, besides those it starts with."""
    code = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return {name.split(".")[0] for name in result.stdout.split()}


def test_importing_the_package_imports_nothing_else():
    assert modules_after("import segmentation") - sys.stdlib_module_names == {"segmentation"}


def test_load_bundle_needs_no_library():
    assert modules_after("from segmentation import load_bundle") - sys.stdlib_module_names == {"segmentation"}


def test_segment_imports_no_framework():
    modules = modules_after("from segmentation import segment")
    assert not modules & {"tensorflow", "keras", "openvino", "skimage", "matplotlib", "tifffile"}


def test_names_are_the_functions_each_time():
    for _ in range(2):
        from segmentation import load_bundle, segment

        assert callable(segment) and callable(load_bundle)
    assert segment.__module__ == "segmentation.prediction.segment"


def test_public_names_come_from_their_modules():
    assert segmentation.__all__ == sorted(segmentation._HOMES) and set(segmentation.__all__) <= set(dir(segmentation))
    for name, home in segmentation._HOMES.items():
        assert getattr(segmentation, name) is getattr(import_module(home), name)


@pytest.mark.parametrize("name", [name for name in segmentation.__all__ if name != "ENCODINGS"])
def test_public_names_have_an_example(name):
    assert ">>> " in (getattr(segmentation, name).__doc__ or "")


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="'segmentation' has no attribute 'segmnt'"):
        segmentation.segmnt  # noqa: B018
    with pytest.raises(ImportError, match="segmnt"):
        from segmentation import segmnt  # noqa: F401

from pathlib import Path

import pytest

from segmentation import paths

ROOT = Path(__file__).parents[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as if it were installed, with its own model and sample images."""
    package = tmp_path / "site-packages" / "segmentation"
    for folder in ("models/nuclei", "data/sample"):
        (package / folder).mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    monkeypatch.setattr(paths, "_CHECKOUT", package.parent)
    return package


def test_in_a_checkout_all_is_beside_the_package():
    assert paths.released_model() == ROOT / "models" / "nuclei"
    assert paths.sample_data() == ROOT / "data" / "sample"
    assert paths.data_folder() == ROOT / "data"
    assert paths.in_checkout()


def test_an_installed_package_has_its_own_and_keeps_downloads_elsewhere(installed):
    assert paths.released_model() == installed / "models" / "nuclei"
    assert paths.sample_data() == installed / "data" / "sample"
    assert not paths.in_checkout()
    assert not paths.data_folder().is_relative_to(installed.parent)

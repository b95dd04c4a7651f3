from pathlib import Path

from segmentation import paths


def test_the_released_model_is_that_of_the_checkout_or_else_that_of_the_installed_package(tmp_path, monkeypatch):
    assert paths.released_model() == Path(__file__).parents[1] / "models" / "nuclei"
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "site-packages" / "segmentation")
    assert paths.released_model() == tmp_path / "site-packages" / "segmentation" / "models" / "nuclei"
    (tmp_path / "site-packages" / "models" / "nuclei").mkdir(parents=True)
    assert paths.released_model() == tmp_path / "site-packages" / "models" / "nuclei"

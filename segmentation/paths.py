"""Where the files that come with the package lie, in a checkout and in an installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent


def released_model() -> Path:
    """Return the folder of the released model: ``models/nuclei`` of the checkout, or else of the installed package."""
    return _first_folder(_CHECKOUT / "models" / "nuclei", _PACKAGE / "models" / "nuclei")


def sample_data() -> Path:
    """Return the folder of the sample images: ``data/sample`` of the checkout, or else of the installed package."""
    return _first_folder(_CHECKOUT / "data" / "sample", _PACKAGE / "data" / "sample")


def data_folder() -> Path:
    """Return the folder for downloads and caches: ``data`` of the checkout, or else one in the user's cache."""
    if (_CHECKOUT / "data" / "sample").is_dir():
        return _CHECKOUT / "data"
    import pooch  # needed for training alone

    return Path(pooch.os_cache("nuclei-segmentation"))


def in_checkout() -> bool:
    """Tell whether the scripts lie beside the package, as in a checkout; else they are installed as commands."""
    return (_CHECKOUT / "predict_masks.py").is_file()


def script(name: str) -> list[str]:
    """Return the arguments of Python that run one of the scripts, such as "train", in a checkout or installed."""
    return [str(_CHECKOUT / f"{name}.py")] if in_checkout() else ["-m", f"nuclei_{name}"]


def _first_folder(*candidates: Path) -> Path:
    return next((folder for folder in candidates if folder.is_dir()), candidates[-1])

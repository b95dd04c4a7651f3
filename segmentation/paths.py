"""Where the files lie that come with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def released_model() -> Path:
    """Return the folder of the released model: ``models/nuclei`` of the checkout, or else of the installed package."""
    of_checkout = _PACKAGE.parent / "models" / "nuclei"
    return of_checkout if of_checkout.is_dir() else _PACKAGE / "models" / "nuclei"

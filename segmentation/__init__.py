"""Nuclei segmentation: ``from segmentation import segment; labels = segment(array)``.

Importing this package imports nothing else. A public name is imported when it is first asked for, so `segment` works
without TensorFlow, and only what builds and trains networks imports Keras.
"""

from importlib import import_module

__version__ = "1.0.0"

_HOMES = {
    "segment": "segmentation.prediction.segment",
    "load_bundle": "segmentation.bundle",
    "build_unet": "segmentation.network.unet",
}

__all__ = ["build_unet", "load_bundle", "segment"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

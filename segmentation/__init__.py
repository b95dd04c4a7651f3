"""Nuclei segmentation: ``from segmentation import segment; labels = segment(array)``.

Importing this package imports nothing else; what is asked of it is imported when it is asked for, and Keras only for
`build_unet`.
"""

from importlib import import_module

_HOMES = {
    "segment": "segmentation.prediction.segment",
    "load_bundle": "segmentation.bundle",
    "build_unet": "segmentation.network.unet",
}

__all__ = ["build_unet", "load_bundle", "segment"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return sorted([*globals(), *__all__])

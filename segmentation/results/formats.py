"""The output formats: to add one, write a module with an `OUTPUT` and name it in `FORMATS`."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segmentation.batch.outputs import Output
    from segmentation.bundle import Bundle

# Name for --outputs: the module that has the `OUTPUT`, an `ImageOutput`, `TableOutput` or `PageOutput` of
# `segmentation.batch.outputs`, and what --help says of the files.
FORMATS = {
    "masks": ("segmentation.results.masks", "PNG 0/255"),
    "labels": ("segmentation.results.labels", "TIFF, 1..n"),
    "overlays": ("segmentation.results.overlays", "PNG"),
    "table": ("segmentation.results.nuclei_csv", "nuclei.csv and images.csv"),
    "parquet": ("segmentation.results.nuclei_parquet", "nuclei.parquet and images.csv"),
    "images": ("segmentation.results.images_csv", "images.csv: a row an image"),
    "rle": ("segmentation.results.run_lengths", "submission.csv"),
    "rois": ("segmentation.results.rois", "ImageJ"),
    "geojson": ("segmentation.results.geojson", "QuPath"),
    "probabilities": ("segmentation.results.probabilities", "TIFF, 255 is certain"),
    "report": ("segmentation.results.report.prediction", "report.html: all results at a glance, for a browser"),
}


def open_outputs(names: Collection[str], bundle: "Bundle") -> dict[str, "Output"]:
    """Import the formats with these names, in the order of `FORMATS`; pages are told of the model, `bundle`."""
    from segmentation.batch.outputs import PageOutput

    # The tables of nuclei have no row for an image without nuclei, so images.csv always goes with them.
    wanted = {*names, "images"} if {"table", "parquet"} & {*names} else names
    outputs = {name: import_module(FORMATS[name][0]).OUTPUT for name in FORMATS if name in wanted}
    return {
        name: replace(output, write=partial(output.write, bundle=bundle)) if isinstance(output, PageOutput) else output
        for name, output in outputs.items()
    }


def result_folders(output: Path) -> list[Path]:
    """Return the folders of results in an output folder; ``images`` is none, but the images of a data set."""
    return [output / name for name in FORMATS if name != "images"]

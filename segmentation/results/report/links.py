"""Links from the page to the files of the results."""

import os
from pathlib import Path
from urllib.parse import quote

# Texts of the links to the files of an image, by the name of the output, and to those of all images.
_FILES = {
    "overlays": "Overlay",
    "masks": "Mask",
    "labels": "Label map",
    "rois": "ImageJ ROIs",
    "geojson": "GeoJSON",
    "probabilities": "Probabilities",
}
_TABLES = {
    "nuclei.csv": "All nuclei",
    "nuclei.parquet": "All nuclei",
    "images.csv": "All images",
    "submission.csv": "Run lengths",
}


def link_tables(folder: Path) -> list[tuple[str, str]]:
    """Return text and address of the files about all images."""
    tables = [(f"{title} ({name})", name) for name, title in _TABLES.items() if (folder / name).exists()]
    return tables + [(f"Summary ({file.name})", file.name) for file in sorted(folder.glob("summary*.json"))]


def link_files(files: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    """Return text and address of the files about one image; of a Zarr store, the folder that holds all of it."""
    return [
        (title, quote(os.fsencode(os.path.commonpath(list(files[output])))))
        for output, title in _FILES.items()
        if files.get(output)
    ]

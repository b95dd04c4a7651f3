"""Write nuclei as ImageJ selections, for the ROI Manager of ImageJ and Fiji."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import roifile

from segmentation.atomic import written_whole
from segmentation.batch.outputs import ImageOutput
from segmentation.results.outlines import trace_outlines

# ImageJ reads integer coordinates as 16-bit numbers of which the highest 5000 are negative ones.
_HIGHEST_INTEGER = 60_535
# java.awt.geom.PathIterator.
_MOVE_TO, _LINE_TO, _CLOSE = 0, 1, 4
# The earliest time that a zip can hold, so that the same nuclei always give the same bytes.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def write_rois(file: Path, labels: np.ndarray, scores: np.ndarray | None = None) -> None:
    """Write a zip with a selection for each nucleus, named by its label, whole or not at all.

    With `scores`, (n,) float of the labels 1..n, names are as in ``12 score 0.87``.

    Selections run along the edges of pixels, so that ImageJ measures exactly the pixels of the nucleus. They are those
    of ImageJ's own wand (traced), but for nuclei with holes, in several pieces or beyond pixel 60,535: these are
    composite selections, which can hold several outlines and larger numbers. `labels` are (H, W) integers.
    """
    with written_whole(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for label, polygons in trace_outlines(labels).items():
            rings = [ring for polygon in polygons for ring in polygon]
            name = str(label) if scores is None else f"{label} score {scores[label - 1]:.2f}"
            entry = zipfile.ZipInfo(f"{name}.roi", _TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, _roi(name, rings).tobytes())


def _roi(name: str, rings: list[np.ndarray]) -> roifile.ImagejRoi:
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    box: dict[str, Any] = {"left": int(left), "top": int(top), "right": int(right), "bottom": int(bottom)}
    if len(rings) == 1 and max(right, bottom) <= _HIGHEST_INTEGER:
        return roifile.ImagejRoi(
            roitype=roifile.ROI_TYPE.TRACED,
            name=name,
            n_coordinates=len(corners),
            integer_coordinates=corners - (left, top),
            **box,
        )
    # ImageJ takes the bounding box from the path: that in the header has 16 bits only.
    path = np.concatenate([_path(ring) for ring in rings])
    return roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, name=name, shape_roi_size=len(path), multi_coordinates=path, **box
    )


def _path(ring: np.ndarray) -> np.ndarray:
    """Return the commands that draw a ring: (3 n + 1,) float32."""
    commands = np.full(len(ring), _LINE_TO)
    commands[0] = _MOVE_TO
    return np.append(np.column_stack([commands, ring]).ravel(), _CLOSE).astype(np.float32)


OUTPUT = ImageOutput("rois", ".zip", lambda file, p: write_rois(file, p.labels, p.scores))

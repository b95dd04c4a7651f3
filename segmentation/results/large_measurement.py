"""Measure the nuclei of an image that was predicted by blocks, from the measurements of the blocks.

A nucleus that the window of a block shows as a whole was measured there. The others, which are larger than the halo or
which two blocks drew differently, are measured on the finished label map.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from segmentation.results.measurement import add_micrometres, measure_nuclei, merge_parts

if TYPE_CHECKING:  # stitching imports SciPy, which a call on small images does without
    from segmentation.large.result import LargePrediction

# Solidity and perimeter of a nucleus with a larger bounding box, in pixels, are measured on every n-th row and column.
_LARGEST_BOX = 16_000_000


def measure_large(prediction: "LargePrediction") -> dict[str, np.ndarray]:
    """Measure the nuclei of an image whose blocks were measured by `measure_nuclei`; return the same columns.

    All values are exact but solidity and perimeter of nuclei whose bounding box has more than 16 megapixels: these two
    are measured on a coarser copy.
    """
    count, total = prediction.nuclei, measure_areas(prediction)
    box = np.tile(np.array([np.iinfo(np.int64).max] * 2 + [-1] * 2), (count, 1))
    for place, fragments in prediction.fragments.items():
        nucleus, kept = _nuclei(prediction, place)
        np.minimum.at(box[:, :2], nucleus, fragments.box[kept, :2])
        np.maximum.at(box[:, 2:], nucleus, fragments.box[kept, 2:])

    table = {"label": np.arange(1, count + 1)}
    is_measured = np.zeros(count, bool)
    for place, fragments in prediction.fragments.items():
        nucleus, kept = _nuclei(prediction, place)
        block = prediction.grid.block(*place)
        is_whole = ~fragments.is_cut[kept] & (fragments.window_area[kept] == total[nucleus]) & ~is_measured[nucleus]
        nucleus, whole = nucleus[is_whole], kept[is_whole]
        corner = block.rows.window.start, block.columns.window.start
        _put(table, nucleus, _moved({name: values[whole] for name, values in fragments.table.items()}, corner))
        is_measured[nucleus] = True
    for index in np.flatnonzero(~is_measured).tolist():
        _put(table, np.array([index]), _measure_one(prediction, index + 1, box[index]))
    height, width = prediction.image.shape
    table["touches_edge"] = (box[:, :2] == 0).any(1) | (box[:, 2] == height) | (box[:, 3] == width)
    if prediction.image.pixel_size_um is not None:
        add_micrometres(table, prediction.image.pixel_size_um)
    return table


def measure_areas(prediction: "LargePrediction") -> np.ndarray:
    """Return the area in pixels of each nucleus of an image that was predicted by blocks: (n,) int64."""
    total = np.zeros(prediction.nuclei, np.int64)
    for place, fragments in prediction.fragments.items():
        nucleus, kept = _nuclei(prediction, place)
        np.add.at(total, nucleus, fragments.core_area[kept])
    return total


def _nuclei(prediction: "LargePrediction", place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the fragments of a block whose nuclei were not dropped: the nucleus of each, from 0, and its index."""
    fragments = prediction.fragments[place]
    numbers = prediction.stitches.numbers(prediction.grid.block(*place), len(fragments.is_cut))[1:].astype(np.int64)
    kept = np.flatnonzero(numbers)
    return numbers[kept] - 1, kept


def _put(table: dict[str, np.ndarray], nuclei: np.ndarray, measurements: Mapping[str, np.ndarray]) -> None:
    for name, values in measurements.items():
        if name != "label":
            column = table.setdefault(name, np.zeros(len(table["label"]), values.dtype))
            column[nuclei] = values


def _moved(measurements: Mapping[str, np.ndarray], corner: tuple[int, int]) -> dict[str, np.ndarray]:
    """Convert positions within a part of the image to positions in the image."""
    return {
        name: values + corner[name.endswith("_x")] if name.startswith(("centroid", "bbox")) else values
        for name, values in measurements.items()
    }


def _measure_one(prediction: "LargePrediction", label: int, box: np.ndarray) -> dict[str, np.ndarray]:
    """Measure one nucleus on the finished label map; a very large one by bands, and its shape on a coarser copy."""
    top, left, bottom, right = map(int, box)
    step = int(np.ceil(np.sqrt((bottom - top) * (right - left) / _LARGEST_BOX)))
    names = prediction.image.measured_names
    labels, pixels, bands = [], [], []
    for first in range(top, bottom, 256 * step):
        rows, columns = slice(first, min(first + 256 * step, bottom)), slice(left, right)
        seen = (prediction.read(rows, columns) == label).astype(np.int32)
        values = prediction.image.read_measured(rows, columns)
        if step > 1:
            bands.append(_moved(measure_nuclei(seen, values, names), (first, left)))
        labels.append(seen[::step, ::step])
        pixels.append(values[::step, ::step])
    coarse = np.concatenate(labels)
    if not coarse.any():  # too thin for the steps: its first pixel stands for it
        coarse[0, 0] = 1
    measurements = _moved(measure_nuclei(coarse, np.concatenate(pixels), names), (top, left))
    if step == 1:
        return measurements
    measurements["perimeter"] = measurements["perimeter"] * step
    return measurements | merge_parts(
        {name: np.concatenate([band[name] for band in bands]) for name in bands[0]}, names
    )

"""Write masks and label maps of images that were predicted by blocks, as tiled TIFF or as labels of an OME-Zarr."""

import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tifffile

from segmentation.atomic import written_whole
from segmentation.prediction.cores import available_cores
from segmentation.results.tiff import tiff_options

if TYPE_CHECKING:
    from segmentation.large.result import LargePrediction

_TILE = 512
_BUFFER_BYTES = 32_000_000  # of tiles that wait for the threads that compress them
_CHUNK = 1024
_COARSEST = 1024  # the most pixels a side of the coarsest level of a pyramid


def write_large_mask(file: Path, prediction: "LargePrediction") -> Path:
    """Write the foreground as a tiled 8-bit BigTIFF, ``FILE.tif``, 255 for nuclei; return its path."""
    bands = ((band > 0).astype(np.uint8) * np.uint8(255) for band in prediction.bands(_TILE))
    return _write_tiled(file, bands, np.uint8, prediction)


def write_large_label_map(file: Path, prediction: "LargePrediction") -> Path:
    """Write the label map, (H, W) uint32; return the path of what was written.

    For a TIFF that is a tiled BigTIFF, ``FILE.tif``; for a Zarr store the folder ``FILE.zarr``, in which
    ``labels/nuclei`` is an OME-Zarr pyramid in the Zarr version of the image.
    """
    if prediction.image.zarr_format is None:
        return _write_tiled(file, prediction.bands(_TILE), np.uint32, prediction)
    target = file.with_name(f"{file.name}.zarr")
    temporary = target.with_name(f".{target.stem}.part.zarr")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write_zarr(temporary, prediction)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # gigabytes of a full disk, perhaps
        raise
    # A folder cannot replace another in one step; the record, which is written later, says that it is whole.
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return target


def _write_tiled(
    file: Path, bands: Iterable[np.ndarray], dtype: type[np.generic], prediction: "LargePrediction"
) -> Path:
    """Write ``FILE.tif``, compressed without loss, from bands as high as a tile."""

    def tiles() -> Iterator[np.ndarray]:
        for band in bands:
            for first in range(0, band.shape[1], _TILE):
                tile = np.zeros((_TILE, _TILE), dtype)
                part = band[:, first : first + _TILE]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile

    file = file.with_name(f"{file.name}.tif")
    with written_whole(file) as temporary:
        tifffile.imwrite(
            temporary,
            tiles(),
            shape=prediction.image.shape,
            dtype=dtype,
            tile=(_TILE, _TILE),
            bigtiff=True,
            # Higher levels take longer, and label maps hardly become smaller.
            compressionargs={"level": 1},
            maxworkers=available_cores(),
            buffersize=_BUFFER_BYTES,
            **tiff_options(prediction.image.pixel_size_um),
        )
    return file


def _write_zarr(folder: Path, prediction: "LargePrediction") -> None:
    import zarr

    zarr_format: Literal[2, 3] = 2 if prediction.image.zarr_format == 2 else 3
    version = "0.4" if zarr_format == 2 else "0.5"
    root = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
    labels = root.create_group("labels")
    nuclei = labels.create_group("nuclei")
    datasets: list[dict[str, Any]] = []
    height, width = prediction.image.shape
    size = prediction.image.pixel_size_um
    unit = {"unit": "micrometer"} if size else {}
    # OME-Zarr 0.5 demands the names, which Zarr 2 cannot hold.
    options: dict[str, Any] = (
        {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        if zarr_format == 2
        else {"dimension_names": ("y", "x")}
    )
    finer = None
    for level in range(32):
        array = nuclei.create_array(
            str(level),
            shape=(height, width),
            chunks=(min(_CHUNK, height), min(_CHUNK, width)),
            dtype=np.uint32,
            **options,
        )
        for row, column in itertools.product(range(0, height, _CHUNK), range(0, width, _CHUNK)):
            rows, columns = slice(row, min(row + _CHUNK, height)), slice(column, min(column + _CHUNK, width))
            if finer is None:
                array[rows, columns] = prediction.read(rows, columns)
            else:  # every second pixel, as labels cannot be averaged
                array[rows, columns] = finer[2 * row : 2 * rows.stop : 2, 2 * column : 2 * columns.stop : 2]
        scale = [float(side * 2**level) for side in size or (1, 1)]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        if max(height, width) <= _COARSEST:
            break
        finer, height, width = array, -(-height // 2), -(-width // 2)
    axes = [{"name": name, "type": "space", **unit} for name in "yx"]
    multiscales: dict[str, Any] = {"name": "nuclei", "axes": axes, "datasets": datasets}
    if zarr_format == 2:
        labels.attrs.update({"labels": ["nuclei"]})
        nuclei.attrs.update({"multiscales": [multiscales | {"version": version}], "image-label": {"version": version}})
    else:
        labels.attrs.update({"ome": {"version": version, "labels": ["nuclei"]}})
        nuclei.attrs.update({"ome": {"version": version, "multiscales": [multiscales], "image-label": {}}})

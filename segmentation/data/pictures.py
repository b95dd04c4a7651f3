"""Pictures of files that hold several: fields of a plate, series, frames of a time series."""

from collections.abc import Sequence
from pathlib import Path

from segmentation.data.formats import scenes
from segmentation.data.formats.decoded import DecodeError
from segmentation.data.formats.planes import Place, Planes
from segmentation.data.formats.zarr_blocks import count_frames as count_frames_of_zarr
from segmentation.data.formats.zarr_blocks import is_zarr, list_fields
from segmentation.data.images import TIFF_SIGNATURES

# How the names of results tell pictures of one file apart: NAME_s2, NAME_t3, NAME_A1_f2.
_MARKS = {"row": "_", "column": "", "field": "_f", "series": "_s", "frame": "_t"}
#: What a place may name, in its order.
PLACE_KEYS = tuple(_MARKS)


def mark(place: Place) -> str:
    """Return what the name of a picture's results has after that of the file.

    Examples
    --------
    >>> mark((("series", "2"), ("frame", "3")))
    '_s2_t3'
    """
    return "".join(_MARKS[key] + value for key, value in place)


def planes_of(place: Place, project: str | None) -> Planes:
    """Return the planes of the file at a place; `project` as in `Planes`."""
    return Planes(project, **{key: int(value) - 1 for key, value in place if key in ("series", "frame")})


def list_pictures(file: Path, series: str | None = None) -> list[tuple[Path, Place]]:
    """List the pictures of a file: fields of a plate, frames of a time series, and of several series those asked for.

    Parameters
    ----------
    series : str, optional
        The number of a series, from 1, or "all". Without it, a TIFF that holds several is one picture, which cannot be
        read; so is a file that is damaged: reading it says why. All scenes of a vendor's file are pictures.

    Returns
    -------
    list of (Path, Place)
        The file, or the store of each field of a plate; the place is empty where there is nothing to choose.
    """
    fields = list_fields(file) if file.is_dir() and is_zarr(file) else []
    return [(store, (*place, *own)) for store, place in fields or [(file, ())] for own in _places(store, series)]


def _places(file: Path, series: str | None) -> list[Place]:
    """Return series and frame of each picture of a file; all scenes of a vendor's file are pictures."""
    try:
        frames, are_scenes = _count_frames(file)
    except (DecodeError, OSError):
        return [()]
    if len(frames) > 1 and series is None and not are_scenes:
        return [()]
    chosen = range(len(frames)) if series in (None, "all") else [int(series) - 1]
    places: list[Place] = []
    for index in chosen:
        # A series that is not there is a picture, too, so that reading it says so.
        own: Place = (("series", str(index + 1)),) if len(frames) > 1 or index else ()
        count = frames[index] if index < len(frames) else 1
        places += [(*own, ("frame", str(frame + 1))) for frame in range(count)] if count > 1 else [own]
    return places


def _count_frames(file: Path) -> tuple[Sequence[int], bool]:
    """Return the number of frames of each series of a file, and whether the series are scenes of a vendor's file."""
    if file.is_dir():
        return count_frames_of_zarr(file), False
    with file.open("rb") as stream:
        start = stream.read(64)
        if start.startswith(scenes.SIGNATURES):
            return scenes.count_frames(stream), True
        if not start.startswith(TIFF_SIGNATURES):
            return [1], False
        # Imported here, for its 30 ms: most calls are on other files.
        from segmentation.data.formats.tiff import count_frames

        stream.seek(0)
        return count_frames(stream), False

"""Find the images that a call names, and name their results.

The results of ``cell.png`` are named ``cell``. If several images of one call share that name (in any case of the
letters, which some file systems ignore), all of them are named with their suffix, ``cell_png``, ``cell_tif``. Names
that are still equal get the name of their folder, ``left_cell_png``, ``right_cell_png``, and names that are equal even
then get a number in the order of the call, ``left_cell_png_1``, ``left_cell_png_2``.

Names are safe in tables, pages and paths: control characters become underscores, an underscore comes before ``=``,
``+``, ``-`` and ``@``, with which spreadsheets begin formulas, and what exceeds 200 bytes is cut off.
"""

import glob
import itertools
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from segmentation.batch.records import is_result
from segmentation.command_line import CONTROL_CHARACTER
from segmentation.data.formats.decoded import list_first
from segmentation.data.formats.planes import Place, name_picture
from segmentation.data.formats.zarr_blocks import is_zarr
from segmentation.data.images import IMAGE_SUFFIXES, is_special
from segmentation.data.pictures import list_pictures, mark

if TYPE_CHECKING:
    from segmentation.data.archive import File


_LISTED = 5  # arguments in a message
_MOST_BYTES = 200  # of the name of results: file systems take 255, suffixes included


class InputError(ValueError):
    """There is nothing to predict, or an argument names no file; the message is one sentence."""


@dataclass(frozen=True)
class Input:
    """An image to predict; the name of its results is unique in a call, whatever the case of the letters."""

    name: str
    file: "File"
    place: Place = ()  # of the picture, in a file that holds several

    @property
    def title(self) -> str:
        """What messages call the image."""
        return name_picture(self.file, self.place)


@dataclass(frozen=True)
class Shard:
    """One of several processes that share the images: number `number`, from 1, of `count`."""

    number: int = 1
    count: int = 1

    def select(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """Return the inputs that this process predicts."""
        return inputs[self.number - 1 :: self.count]


def find_inputs(
    arguments: Sequence[str],
    subset: Collection[str] | None = None,
    ignored: Collection[Path] = (),
    series: str | None = None,
) -> list[Input]:
    """List the images that the arguments of a call name, each once: by argument, and by name within each.

    An argument is a file, a glob, a Zarr store, a folder (for the images in it or in its ``images/``, not in folders
    below), or a data set in the Bowl's layout, folder or zip. Of these images, only those of a `subset` of ids (file
    names without suffix) are taken; files in the `ignored` folders, those of the results, are not. Frames of a time
    series and fields of a plate are images of their own; so are series, if `series` is "all" or the number of one.

    Raises
    ------
    InputError
        If an argument names no image, or nothing is left.
    segmentation.data.problems.DatasetError
        If a zip, or a folder without images, is no data set.
    """
    skipped = {folder.resolve() for folder in ignored}
    files: dict[Path | str, tuple[str, File]] = {}
    real_folder = cache(os.path.realpath)

    def real_path(file: Path) -> Path:
        # `Path.resolve` refuses links in a circle, which are to be reported as images that cannot be read.
        return Path(os.path.realpath(file) if file.is_symlink() else os.path.join(real_folder(file.parent), file.name))

    for argument in arguments:
        try:
            if _holds_results(Path(argument), skipped):  # of an earlier call, as fits the pattern of a shell
                continue
            expanded = _expand(argument)
        except PermissionError as error:
            raise InputError(f"{error.filename} cannot be read ({error.strerror})") from error
        if not expanded:
            raise _no_images([argument], ignored)
        for identifier, file in expanded:
            key = real_path(file) if isinstance(file, Path) else str(file)
            if not (isinstance(key, Path) and key.parent in skipped):
                files.setdefault(key, (identifier, file))
    if not files:
        raise _no_images(arguments, ignored)
    found = [(identifier, file) for identifier, file in files.values() if subset is None or identifier in subset]
    if subset is not None and not found:
        raise InputError(f"None of the {len(files)} images is among the {len(subset)} ids of the subset")
    pictures = [
        (f"{identifier}{mark(place)}", part, place)
        for identifier, file in found
        for part, place in (
            [(file, ())] if not isinstance(file, Path) or is_special(file) else list_pictures(file, series)
        )
    ]
    names = unique_names([(identifier, str(file)) for identifier, file, _ in pictures])
    return [Input(name, file, place) for name, (_, file, place) in zip(names, pictures, strict=True)]


def _holds_results(path: Path, results: Collection[Path]) -> bool:
    """Tell whether a path is one of the folders of `results`, or that around them with nothing else to predict."""
    if not path.is_dir() or path.resolve() in results:
        return path.is_dir()
    folders = [child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")]
    is_around = any(folder.parent == path.resolve() for folder in results)
    return is_around and not _place_of_images(path) and all(folder.resolve() in results for folder in folders)


def _no_images(arguments: Sequence[str], ignored: Collection[Path]) -> InputError:
    others = passed_over(arguments, ignored)
    return InputError(
        f"There are no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {list_first(arguments, _LISTED)}"
        f"{f'; there are {list_counts(others)}' if others else ''}"
    )


def passed_over(arguments: Sequence[str], ignored: Collection[Path] = ()) -> Counter[str]:
    """Count what lies in the folders of a call, or fits its globs, and is no image: by suffix; folders as "folders".

    Hidden files do not count, nor do the `ignored` folders, what lies in them, the folder around them with its tables,
    and data sets.
    """
    results = {folder.resolve() for folder in ignored}
    around = {folder.parent for folder in results}
    others: set[Path] = set()
    for argument in arguments:
        path = Path(argument)
        if not path.exists():
            others |= {Path(match) for match in glob.glob(argument, recursive=True)}
        elif path.is_dir() and not is_zarr(path):
            place, children = _place_of_images(path), set(path.iterdir())
            below = {child for child in children if child.is_dir()}
            if place == path:
                others |= children
            elif place or not below:
                others |= children - below | set(place.iterdir() if place else ())
    left = {
        Path(os.path.abspath(file))
        for file in others
        if not (file.name.startswith(".") or _is_image(file))
        and not (file.resolve() in results | around or file.parent.resolve() in results)
        and not (file.parent.resolve() in around and is_result(file))
    }
    return Counter("folders" if file.is_dir() else file.suffix.lower() or "files without suffix" for file in left)


def list_counts(counts: Mapping[str, int]) -> str:
    """List what `passed_over` counted, the most frequent first.

    Examples
    --------
    >>> list_counts({".txt": 1, "folders": 2, ".mrxs": 2})
    '2 .mrxs, 2 folders, 1 .txt'
    """
    return ", ".join(
        f"{count:,} {kind}" for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def read_subset(split: str, subset: str) -> set[str]:
    """Return the ids of a subset of a split; DatasetError if there is no such subset."""
    from segmentation.data.problems import DatasetError
    from segmentation.data.splits import read_split

    rows = read_split(split)
    ids = {identifier for identifier, row in rows.items() if row.subset == subset}
    if not ids:
        subsets = ", ".join(sorted({row.subset for row in rows.values()}))
        raise DatasetError(f"{split} has no subset {subset}, expected one of {subsets}")
    return ids


def unique_names(images: Sequence[tuple[str, str]]) -> list[str]:
    """Name the results of images, given as (id, path), as described at the top of this module.

    Examples
    --------
    >>> unique_names([("cell", "cell.png"), ("cell", "cell.tif"), ("other", "other.png")])
    ['cell_png', 'cell_tif', 'other']
    """
    # A leading dot would hide the results.
    names = [_safe(identifier.lstrip(".") or "image") for identifier, _ in images]
    for index in _shared(names):
        names[index] = _safe(f"{names[index]}_{_posix(images[index]).suffix[1:].lower()}")
    for index in _shared(names):
        names[index] = _safe("_".join(filter(None, (_posix(images[index]).parent.name, names[index]))))
    taken = {name.casefold() for name in names}
    for index in _shared(names):
        numbered = (f"{_safe(names[index], _MOST_BYTES - 10)}_{number}" for number in itertools.count(1))
        names[index] = next(name for name in numbered if name.casefold() not in taken)
        taken.add(names[index].casefold())
    return names


def _safe(name: str, most_bytes: int = _MOST_BYTES) -> str:
    name = CONTROL_CHARACTER.sub("_", name)
    if name.startswith(("=", "+", "-", "@")):
        name = f"_{name}"
    while len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name


def _posix(image: tuple[str, str]) -> PurePosixPath:
    return PurePosixPath(Path(image[1]).as_posix())


def _shared(names: Sequence[str]) -> list[int]:
    counts = Counter(name.casefold() for name in names)
    return [index for index, name in enumerate(names) if counts[name.casefold()] > 1]


def _expand(argument: str) -> list[tuple[str, "File"]]:
    """Return the images that one argument names, with their ids."""
    path = Path(argument)
    if path.is_dir() and is_zarr(path):
        return [(path.stem, path)]
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() == ".zip" and path.is_file():
        return _in_data_set(path)
    if path.exists():
        return [(path.stem, path)]
    matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]
    if not matches:
        raise InputError(f"There is no file or folder {argument}")
    return [(match.stem, match) for match in matches if _is_image(match)]


def _in_folder(folder: Path) -> list[tuple[str, "File"]]:
    place = _place_of_images(folder)
    if place:
        return [(file.stem, file) for file in sorted(place.iterdir()) if _is_image(file)]
    return _in_data_set(folder) if any(child.is_dir() for child in folder.iterdir()) else []


def _place_of_images(folder: Path) -> Path | None:
    """Return where the images of a folder are: in itself or in its ``images/``; None if in neither."""
    places = (place for place in (folder, folder / "images") if place.is_dir())
    return next((place for place in places if any(map(_is_image, place.iterdir()))), None)


def _in_data_set(path: Path) -> list[tuple[str, "File"]]:
    # Imported here, because a call on plain images does not need it.
    from segmentation.data.layouts import find_samples

    return [(sample.id, sample.image) for sample in find_samples(path, need_masks=False) if sample.image is not None]


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.suffix.lower() == ".zarr":
        return path.is_dir() and is_zarr(path)
    # A broken link or a pipe is taken, so that it is reported as an image that cannot be read.
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()

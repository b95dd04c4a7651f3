"""Which images a call is about, and under which names their results are kept.

An image ``cell.png`` gives results named ``cell``. Where several images of one call share that name (compared without
regard to case, as some file systems do), all of them are named ``cell_png``, ``cell_tif``; those that still share a
name have the name of their folder put before it, ``left_cell_png``, ``right_cell_png``; and those that even then do
are numbered in the order of the call, ``left_cell_png_1``, ``left_cell_png_2``.
"""

import glob
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segmentation.data.formats.zarr_blocks import is_zarr
from segmentation.data.images import IMAGE_SUFFIXES


class InputError(ValueError):
    """Nothing to predict, or an argument that is none; the message is one sentence."""


@dataclass(frozen=True)
class Input:
    """An image to predict.

    Attributes
    ----------
    name : str
        Of its results; unique in a call, whatever the case of the letters.
    file : Path or the member of an archive
        Has ``read_bytes()``, ``name`` and ``str()``.
    """

    name: str
    file: Path


@dataclass(frozen=True)
class Shard:
    """One of several processes that share the images: the `number`-th of `count`, from 1."""

    number: int = 1
    count: int = 1

    def select(self, inputs: Sequence) -> Sequence:
        """The part of the inputs that is this one's."""
        return inputs[self.number - 1 :: self.count]


def find_inputs(
    arguments: Sequence[str], subset: Collection[str] | None = None, ignored: Collection[Path] = ()
) -> list[Input]:
    """List the images that the arguments of a call name, each once.

    Parameters
    ----------
    arguments : sequence of str
        Files; globs; Zarr stores; folders, of which the images in them are taken, not those in folders below; a data
        set in the Bowl's layout, folder or zip, or a folder that holds ``images/``, of which only the images are taken.
    subset : collection of str, optional
        Only images with these ids (file names without suffix) are taken.
    ignored : collection of Path
        Folders whose files are not taken: where results are written to.

    Returns
    -------
    list of Input
        In the order of the arguments, and by name within each.

    Raises
    ------
    InputError
        If an argument names nothing, or nothing is left.
    segmentation.data.problems.DatasetError
        If a zip, or a folder without images, is no data set.
    """
    ignored = {folder.resolve() for folder in ignored}
    files = {}  # by what tells two files apart: (id, file)
    for argument in arguments:
        try:
            expanded = _expand(argument)
        except PermissionError as error:
            raise InputError(f"{error.filename} cannot be read ({error.strerror})") from error
        for identifier, file in expanded:
            key = file.resolve() if isinstance(file, Path) else str(file)
            if not (isinstance(key, Path) and key.parent in ignored):
                files.setdefault(key, (identifier, file))
    found = list(files.values())
    if not found:
        raise InputError(f"There are no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {', '.join(arguments)}")
    if subset is not None:
        count = len(found)
        found = [(identifier, file) for identifier, file in found if identifier in subset]
        if not found:
            raise InputError(f"None of the {count} images is among the {len(subset)} ids of the subset")
    names = unique_names([(identifier, str(file)) for identifier, file in found])
    return [Input(name, file) for name, (_, file) in zip(names, found, strict=True)]


def unique_names(images: Sequence[tuple[str, str]]) -> list[str]:
    """Name images by the rule that stands at the head of this module.

    Parameters
    ----------
    images : sequence of (id, path)

    Returns
    -------
    list of str

    Examples
    --------
    >>> unique_names([("cell", "cell.png"), ("cell", "cell.tif"), ("other", "other.png")])
    ['cell_png', 'cell_tif', 'other']
    """
    paths = [PurePosixPath(Path(path).as_posix()) for _, path in images]
    # Results do not begin with a dot: such files are hidden.
    names = [identifier.lstrip(".") or "image" for identifier, _ in images]
    for index in _shared(names):
        names[index] = f"{names[index]}_{paths[index].suffix[1:].lower()}"
    for index in _shared(names):
        names[index] = "_".join(filter(None, (paths[index].parent.name, names[index])))
    taken = {name.casefold() for name in names}
    for index in _shared(names):
        number = 1
        while f"{names[index]}_{number}".casefold() in taken:
            number += 1
        names[index] = f"{names[index]}_{number}"
        taken.add(names[index].casefold())
    return names


def _shared(names: Sequence[str]) -> list[int]:
    counts = Counter(name.casefold() for name in names)
    return [index for index, name in enumerate(names) if counts[name.casefold()] > 1]


def _expand(argument: str) -> list[tuple[str, Path]]:
    """The images that one argument names, with their ids."""
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


def _in_folder(folder: Path) -> list[tuple[str, Path]]:
    for candidate in (folder, folder / "images"):
        if candidate.is_dir():
            images = sorted(file for file in candidate.iterdir() if _is_image(file))
            if images:
                return [(image.stem, image) for image in images]
    if any(child.is_dir() for child in folder.iterdir()):
        return _in_data_set(folder)
    return []


def _in_data_set(path: Path) -> list[tuple[str, Path]]:
    # Imported here, because a call on plain images does without.
    from segmentation.data.layouts import find_samples

    return [(sample.id, sample.image) for sample in find_samples(path, need_masks=False)]


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.suffix.lower() == ".zarr":
        return path.is_dir() and is_zarr(path)
    # A link to nothing is one that cannot be read, and not silently none.
    return path.suffix.lower() in IMAGE_SUFFIXES and (path.is_file() or path.is_symlink() and not path.exists())

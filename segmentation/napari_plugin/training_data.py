"""Save pictures and corrected label maps as a data set for `train.py`, and name the command that trains on it."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from segmentation.command_line import CONTROL_CHARACTER
from segmentation.data.images import ImageError, read_image
from segmentation.data.large import LARGEST_WHOLE
from segmentation.data.layouts import find_samples
from segmentation.napari_plugin.pictures import LayerError, LayerPicture
from segmentation.paths import script
from segmentation.results.labels import write_label_map
from segmentation.results.tiff import write_tiff


def save_sample(folder: Path, picture: LayerPicture, labels: ArrayLike) -> list[str]:
    """Write ``images/NAME.tif`` and ``masks/NAME.tif`` into a folder, which is made, for `train.py --data`.

    The same picture may be saved again, with labels that were corrected further.

    Parameters
    ----------
    picture : LayerPicture
        NAME is the one of the layer. Of several channels, the chosen one is saved.
    labels : (H, W) array_like of integers
        0 is background. Axes of length 1 may precede.

    Returns
    -------
    list of str
        What training will warn of, as of a nucleus in several pieces; empty if all is well.

    Raises
    ------
    LayerError
        If the labels do not fit the picture, hold no nucleus or a number that no file holds, the picture has more than
        64 megapixels, or the folder has other files of that name.
    ImageError
        If the picture cannot be read.
    OSError
        If the folder cannot be written.
    """
    height, width = picture.shape
    if height * width > LARGEST_WHOLE:
        raise LayerError(
            f"{picture.name} has {width:,} x {height:,} pixels, where at most {LARGEST_WHOLE:,} were expected: cut out "
            "a part of it, and correct the nuclei of that"
        )
    labels = np.asarray(labels)
    if labels.shape[:-2] == (1,) * (labels.ndim - 2):
        labels = labels.reshape(labels.shape[-2:])
    if labels.shape != (height, width):
        raise LayerError(
            f"The labels have the shape {labels.shape}, where {(height, width)} was expected, that of {picture.name}: "
            "choose the labels of this image"
        )
    if not labels.any():
        raise LayerError(f"The labels of {picture.name} hold no nucleus, where at least one was expected: paint it")
    low, high, most = int(labels.min()), int(labels.max()), np.iinfo(np.uint32).max
    if low < 0 or high > most:
        raise LayerError(
            f"The labels of {picture.name} hold {low if low < 0 else high}, where numbers from 0 to {most:,} were "
            "expected: erase that nucleus, or paint it with another number"
        )
    name = _file_name(picture.name)
    image, mask = folder / "images" / f"{name}.tif", folder / "masks" / f"{name}.tif"
    pixels = picture.read_whole().pixels
    others = [file for file in _files_named(folder, name) if file not in (image, mask)]
    if image.exists() and not _is_picture(image, pixels):
        others.append(image)
    if others:
        raise LayerError(
            f"{others[0]} is there already, and is of another picture: rename the layer, or choose another folder"
        )
    for file in (image, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_tiff(image, pixels if pixels.shape[-1] == 3 else pixels[..., 0], picture.pixel_size_um)
    write_label_map(mask, labels, picture.pixel_size_um)
    (sample,) = (sample for sample in find_samples(folder) if sample.id == name)
    return [str(problem) for problem in (*sample.problems, *sample.examine_labels((height, width))[1])]


def model_folder(data: Path) -> Path:
    """Return a folder beside a data set that does not exist yet, for the model that is trained on it."""
    names = itertools.chain([f"{data.name}_model"], (f"{data.name}_model_{number}" for number in itertools.count(2)))
    return next(folder for folder in map(data.with_name, names) if not folder.exists())


def train_command(data: Path, initial_model: Path, output: Path, minutes: int) -> list[str]:
    """Return the command that adapts a model to a data set within some minutes."""
    options = {"--data": data, "--init": initial_model, "--output": output, "--time-limit": minutes}
    return [sys.executable, "-u", *script("train"), *(str(part) for pair in options.items() for part in pair)]


def _file_name(layer: str) -> str:
    """Return the name of a layer without what file systems refuse, and without a leading dot."""
    name = re.sub(r'[/\\:*?"<>|]', "_", CONTROL_CHARACTER.sub("_", layer)).strip(" .")[:100]
    return name or "image"


def _files_named(folder: Path, name: str) -> list[Path]:
    return [
        file
        for place in (folder / "images", folder / "masks")
        if place.is_dir()
        for file in sorted(place.iterdir())
        if file.stem.casefold() == name.casefold()
    ]


def _is_picture(file: Path, pixels: np.ndarray) -> bool:
    try:
        return np.array_equal(read_image(file).pixels, pixels)
    except ImageError:
        return False

"""Which file holds the nuclei of which image, by their names."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from segmentation.data import problems
from segmentation.data.archive import File
from segmentation.data.images import IMAGE_SUFFIXES
from segmentation.data.masks import WholeMask
from segmentation.data.outlines import OUTLINE_SUFFIXES, OutlineMasks
from segmentation.data.problems import Problem
from segmentation.data.samples import Sample

#: Folders of masks beside `images/`; those that `predict_masks.py` writes are among them.
MASK_FOLDERS = ("labels", "masks", "rois", "geojson")
# Suffixes of masks that no image has.
_MASKS_ALONE = OUTLINE_SUFFIXES | {".npy"}
# NAME_mask, NAME_masks, NAME_label, NAME_labels, NAME_cp_masks (Cellpose), NAME_RoiSet (ImageJ), mask_NAME, label_NAME.
_AFFIX = re.compile(
    r"(?:masks?|labels?)[_-](?P<first>.+)|(?P<last>.+?)[_-](?:(?:cp[_-])?(?:masks?|labels?)|roiset)", re.IGNORECASE
)
# NAME_img beside NAME_masks, as in Cellpose's own data.
_OF_IMAGE = re.compile(r"[_-](?:img|image)$", re.IGNORECASE)


class ImageNames:
    """The names of images, without suffix, to find that of a mask among.

    Examples
    --------
    >>> names = ImageNames(["cell_1", "cell_2", "000_img"])
    >>> [names.find(mask) for mask in ("cell_1", "cell_1_cp_masks", "mask_cell_2", "000_masks", "other")]
    ['cell_1', 'cell_1', 'cell_2', '000_img', None]
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._bare = {_OF_IMAGE.sub("", name): name for name in self._names if _OF_IMAGE.search(name)}

    def find(self, mask: str) -> str | None:
        """Return the name of the image that a mask of the name `mask`, without suffix, belongs to; None if none."""
        bare = _without_affix(mask)
        return next((name for name in (mask, bare) if name in self._names), self._bare.get(bare))


def _without_affix(mask: str) -> str:
    found = _AFFIX.fullmatch(mask)
    return (found["first"] or found["last"]) if found else mask


def is_image_file(name: str) -> bool:
    """Whether a file may be an image, by its suffix."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_mask_file(name: str) -> bool:
    """Whether a file may hold masks, by its suffix."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES | _MASKS_ALONE


def divide(files: Iterable[File]) -> tuple[list[File], list[File]]:
    """Tell the images in a folder from the masks that lie beside them; return both."""
    files = list(files)
    names = ImageNames(file.stem for file in files if file.suffix.lower() not in _MASKS_ALONE)

    def is_mask(file: File) -> bool:
        if file.suffix.lower() in _MASKS_ALONE:
            return names.find(file.stem) is not None
        bare = _without_affix(file.stem)
        return bare != file.stem and names.find(bare) is not None

    masks = [file for file in files if is_mask(file)]
    return [file for file in files if is_image_file(file.name) and not is_mask(file)], masks


def pair(images: Iterable[File], masks: Iterable[File]) -> list[Sample]:
    """Make a sample of each image with its mask; one without the other is a sample with a problem."""
    by_stem: defaultdict[str, tuple[list[File], list[File]]] = defaultdict(lambda: ([], []))
    for image in images:
        by_stem[image.stem][0].append(image)
    names = ImageNames(by_stem)
    for mask in masks:
        by_stem[names.find(mask.stem) or mask.stem][1].append(mask)
    samples = []
    for stem, (own_images, own_masks) in by_stem.items():
        found = [several_files(stem, files) for files in (own_images, own_masks) if len(files) > 1]
        if not own_images:
            found.append(Problem(str(own_masks[0]), stem, problems.NO_IMAGE, True))
        if not own_masks:
            found.append(Problem(str(own_images[0]), stem, problems.NO_MASKS, True))
        first = own_images[0] if own_images else None
        samples.append(Sample(stem, first, _masks(own_masks[0]) if own_masks else None, problems=tuple(found)))
    return samples


def several_files(sample_id: str, files: list[File]) -> Problem:
    """Report that one sample has several images or several masks."""
    return Problem(str(files[0]), sample_id, problems.SEVERAL_FILES, True, ", ".join(file.name for file in files))


def _masks(file: File) -> WholeMask | OutlineMasks:
    return OutlineMasks(file) if file.suffix.lower() in OUTLINE_SUFFIXES else WholeMask(file)

"""One image of a data set with its annotated nuclei."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segmentation.data import problems
from segmentation.data.archive import File
from segmentation.data.formats.decoded import Undecided
from segmentation.data.images import Image, ImageError, read_image
from segmentation.data.problems import DatasetError, Problem


class Masks(Protocol):
    """The nuclei of an image on disk: see `segmentation.data.masks` and `segmentation.data.outlines`."""

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]: ...


@dataclass(frozen=True)
class Sample:
    """An image and its nuclei on disk; nothing is decoded until asked for.

    Attributes
    ----------
    id : str
        Name of the sample, without suffix; unique in its data set.
    image : Path or ArchiveMember or None
        None if there are masks without an image.
    masks : Masks or None
        None if they are missing, or for an image to predict.
    kind, group : str or None
        Kind of image and group of images that show one field, if known.
    problems : tuple of Problem
        Found while listing the files, such as a missing image.
    subset : str or None
        "train", "val" or "test" where the folder says so.
    """

    id: str
    image: File | None
    masks: Masks | None = None
    kind: str | None = None
    group: str | None = None
    problems: tuple[Problem, ...] = ()
    subset: str | None = None

    def read_image(self) -> Image:
        """Decode the image; raise ImageError or DatasetError if that is impossible."""
        if self.image is None:
            raise DatasetError(f"sample {self.id} has masks but no image.")
        try:
            return read_image(self.image)
        except ImageError as error:
            if isinstance(error.__cause__, Undecided):
                raise ImageError(f"{self.image} {error.__cause__.alone}") from error
            raise

    def examine_labels(self, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Decode the nuclei and report everything that is wrong with them.

        An image without nuclei is a warning, not fatal: a network that never saw one finds nuclei everywhere.

        Parameters
        ----------
        shape : tuple of int or None
            (H, W) of the image; None if the image is unreadable.

        Returns
        -------
        labels : (H, W) int32 or None
            0 = background, 1..n = nuclei that could be read; None if there are no masks or their size is unknown.
        found : list of Problem
            All problems, fatal or not, except `self.problems`.
        """
        if self.masks is None:
            return None, []
        labels, found = self.masks.read(self.id, shape)
        empty = labels is not None and not labels.any()
        if empty and not any(problem.fatal or problem.what == problems.NO_NUCLEI for problem in found):
            found.append(Problem(str(self.image), self.id, problems.NO_NUCLEI, False))
        return labels, found

    def read_labels(self, shape: tuple[int, int]) -> np.ndarray:
        """Decode the nuclei of an image of (H, W) `shape`; raise DatasetError at the first fatal problem.

        Returns
        -------
        (H, W) int32
            0 = background, 1..n = nuclei, every number in use. Of overlapping nuclei the later one gets the pixels.
        """
        labels, found = self.examine_labels(shape)
        for problem in (*self.problems, *found):
            if problem.fatal:
                raise DatasetError(f"{problem}.")
        if labels is None:
            raise DatasetError(f"sample {self.id} ({self.image}) has no masks.")
        return labels

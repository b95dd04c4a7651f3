"""Three ways in which a data set stores the nuclei of an image, each read as one label map."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import label

from segmentation.data import problems
from segmentation.data.archive import File
from segmentation.data.images import ImageError, read_label_map
from segmentation.data.problems import Problem
from segmentation.data.run_lengths import decode_run_lengths

# Two annotators' outlines touch by a pixel or two; past this share of the foreground the masks contradict each other.
FATAL_OVERLAP = 0.1
# A nucleus may be drawn in a few pieces; a file with more is a mask of the whole image in the wrong layout.
FATAL_PIECES = 8


@dataclass(frozen=True)
class NucleusMasks:
    """One file a nucleus: every pixel above 0 belongs to it, and later files win where two overlap."""

    files: tuple[File, ...]

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Read the label map; `shape` is the image's, None if unknown. See `Sample.read_labels`."""
        found, painter = [], None
        for number, file in enumerate(self.files, 1):
            try:
                mask = read_label_map(file)
            except (ImageError, OSError) as error:
                found.append(unreadable_mask(file, sample_id, error))
                continue
            shape = shape or mask.shape
            if mask.shape != shape:
                found.append(size_differs(file, sample_id, mask.shape, shape))
                continue
            painter = painter or Painter(sample_id, shape)
            painter.paint(file, number, *_crop(mask))
        if painter is None and shape is not None:
            painter = Painter(sample_id, shape)
        return painter.finish(found) if painter else (None, found)


@dataclass(frozen=True)
class WholeMask:
    """One file with all nuclei: a label map or a binary mask, see `labels_from_mask`."""

    file: File

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Read the label map; `shape` is the image's, None if unknown. See `Sample.read_labels`."""
        try:
            mask = read_label_map(self.file)
        except (ImageError, OSError) as error:
            return None, [unreadable_mask(self.file, sample_id, error)]
        if shape is not None and mask.shape != shape:
            return None, [size_differs(self.file, sample_id, mask.shape, shape)]
        found = []

        def report(what: str, fatal: bool, detail: str = "") -> None:
            found.append(Problem(str(self.file), sample_id, what, fatal, detail))

        labels = consecutive(mask)
        count = int(labels.max())
        if count == 0:
            report(problems.NO_NUCLEI, fatal=False)
        elif labels.min() > 0:
            report(problems.NO_BACKGROUND, fatal=True, detail=f"every pixel is above 0, the least is {mask.min()}")
        elif count == 1:
            labels = labels_from_mask(mask)
        elif _is_smoothed(mask, labels):
            report(
                problems.GREY_MASK, fatal=True, detail=f"{count} values, mostly 255: save it as 0 and 255, unsmoothed"
            )
        else:
            torn = 0
            for number, box in enumerate(ndimage.find_objects(labels), 1):
                torn += count_pieces(labels[box] == number) > 1
            if torn:
                report(problems.IN_PIECES, fatal=False, detail=f"{torn} of {count} labels")
        return labels, found


@dataclass(frozen=True)
class RunLengthMasks:
    """The rows of a run-length table that belong to one image; later rows win where two overlap."""

    file: File
    nuclei: tuple[str, ...] = field(repr=False)

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Read the label map; `shape` is the image's, None if unknown. See `Sample.read_labels`."""
        if shape is None:
            return None, []
        found, painter = [], Painter(sample_id, shape)
        for number, runs in enumerate(self.nuclei, 1):
            try:
                columns, rows = np.divmod(decode_run_lengths(runs, shape), shape[0])
            except ValueError as error:
                detail = f"{sample_id}, nucleus {number}: {error}"
                found.append(Problem(str(self.file), sample_id, problems.BAD_RUN_LENGTHS, True, detail))
                continue
            corner = rows.min(), columns.min()
            pixels = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1), bool)
            pixels[rows - corner[0], columns - corner[1]] = True
            painter.paint(self.file, number, pixels, *corner)
        return painter.finish(found)


class Painter:
    """Paints nuclei one after another into a label map and notes what is odd about them."""

    def __init__(self, sample_id: str, shape: tuple[int, int]) -> None:
        self.sample_id = sample_id
        self.labels = np.zeros(shape, np.int32)
        self.problems: list[Problem] = []
        self.painted = 0
        # (file, number of the nucleus, pixels that an earlier one had)
        self.overlaps: list[tuple[File, int, int]] = []

    def paint(self, file: File, number: int, pixels: np.ndarray, top: int, left: int) -> None:
        """Add a nucleus: `pixels` (h, w) bool at row `top`, column `left`."""
        if not pixels.any():
            self.problems.append(Problem(str(file), self.sample_id, problems.EMPTY_MASK, False))
            return
        region = self.labels[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        overlap = int(np.count_nonzero(region[pixels]))
        if overlap:
            self.overlaps.append((file, number, overlap))
        region[pixels] = number
        self.painted += 1
        pieces = count_pieces(pixels)
        if pieces > 1:
            fatal = pieces > FATAL_PIECES
            what = problems.MANY_IN_ONE if fatal else problems.IN_PIECES
            self.problems.append(Problem(str(file), self.sample_id, what, fatal, f"{pieces} pieces, nucleus {number}"))

    def finish(self, found: list[Problem]) -> tuple[np.ndarray, list[Problem]]:
        """Return the label map, numbered 1..n, and all problems, those `found` elsewhere first."""
        labels = consecutive(self.labels)
        found = found + self.problems
        twice = sum(overlap for _, _, overlap in self.overlaps)
        fatal = bool(twice > FATAL_OVERLAP * np.count_nonzero(labels))
        for file, number, overlap in self.overlaps:
            detail = f"nucleus {number} shares {overlap} pixel{'s' * (overlap > 1)} with earlier ones"
            found.append(Problem(str(file), self.sample_id, problems.OVERLAP, fatal, detail))
        return labels, found


def labels_from_mask(pixels: np.ndarray) -> np.ndarray:
    """Turn the pixels of a mask file into a label map.

    If 0 and one other value are all that occurs, the mask is binary: its connected components (diagonal neighbours
    included) are the nuclei, whether the other value is 1, 255 or any other. Otherwise each value above 0 is a nucleus.

    Parameters
    ----------
    pixels : (H, W) ndarray of unsigned integers

    Returns
    -------
    (H, W) int32
        0 = background, 1..n = nuclei, every number in use; all 0 where the mask is.

    Examples
    --------
    >>> labels_from_mask(np.array([[255, 0, 255]], np.uint8))
    array([[1, 0, 2]], dtype=int32)
    >>> labels_from_mask(np.array([[7, 0, 255]], np.uint8))
    array([[1, 0, 2]], dtype=int32)
    >>> labels_from_mask(np.array([[7, 0, 7, 9]], np.uint8))
    array([[1, 0, 1, 2]], dtype=int32)
    """
    labels = consecutive(pixels)
    return label(labels, connectivity=2).astype(np.int32) if labels.max(initial=0) == 1 else labels


def consecutive(mask: np.ndarray) -> np.ndarray:
    """Renumber the values above 0 as 1..n in their order; (H, W) int32."""
    highest = int(mask.max(initial=0))
    if highest > mask.size:
        # A table as long as the highest label would outgrow the picture.
        values, numbers = np.unique(mask, return_inverse=True)
        return (numbers.reshape(mask.shape) + (values[0] > 0)).astype(np.int32)
    present = np.zeros(highest + 1, bool)
    present[mask.ravel()] = True
    present[0] = False
    return np.cumsum(present, dtype=np.int32)[mask]


def count_pieces(pixels: np.ndarray) -> int:
    """Number of connected components, diagonal neighbours included, of an (h, w) bool array."""
    return cv2.connectedComponents(pixels.view(np.uint8), connectivity=8)[0] - 1


def unreadable_mask(file: File, sample_id: str, error: Exception) -> Problem:
    return Problem(str(file), sample_id, problems.UNREADABLE_MASK, True, reason(file, error))


def reason(file: File, error: Exception) -> str:
    """What a reader says of a file, without the file's name, which a problem names already."""
    return str(error).removeprefix(str(file)).lstrip(" :,")


def size_differs(file: File, sample_id: str, got: tuple[int, int], expected: tuple[int, int]) -> Problem:
    detail = f"the mask has {got[0]} x {got[1]} pixels (rows x columns), the image {expected[0]} x {expected[1]}"
    return Problem(str(file), sample_id, problems.SIZE_DIFFERS, True, detail)


def _crop(mask: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The pixels above 0 in their bounding box, (h, w) bool, and its top and left; far smaller than the picture."""
    byte_mask = mask if mask.dtype == np.uint8 else (mask > 0).view(np.uint8)
    left, top, width, height = cv2.boundingRect(byte_mask)
    return byte_mask[top : top + height, left : left + width] > 0, top, left


def _is_smoothed(mask: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a picture of 0 and 255 got shades between them by resizing or JPEG, and is no label map."""
    values = int(labels.max())
    return int(mask.max()) == 255 and values >= 8 and np.count_nonzero(mask == 255) > 0.5 * np.count_nonzero(mask)

"""Three ways in which a data set stores the nuclei of an image, each read as one label map."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy import ndimage

from segmentation.data import problems
from segmentation.data.archive import File
from segmentation.data.images import ImageError
from segmentation.data.label_maps import read_label_map
from segmentation.data.painting import Nucleus, consecutive, count_pieces, paint
from segmentation.data.problems import Problem
from segmentation.data.run_lengths import decode_run_lengths

# The most background that masks of the 2018 Data Science Bowl enclose is 0.02 of their foreground; outlines that are
# three pixels wide enclose at least 0.11.
_MOST_ENCLOSED = 0.05
# Marks of the places of nuclei have up to 3 x 3 pixels; the smallest median of an image is 39 there.
_LARGEST_POINT, _FEWEST_POINTS, _MOST_COVERED = 9, 5, 0.2


@dataclass(frozen=True)
class NucleusMasks:
    """One file a nucleus: its pixels are those above 0; of overlapping nuclei the later file gets the pixels."""

    files: tuple[File, ...]

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Read the label map; `shape` is that of the image, None if unknown. See `Sample.examine_labels`."""
        found: list[Problem] = []
        nuclei: list[Nucleus] = []
        for number, file in enumerate(self.files, 1):
            mask = _read(file, sample_id, shape, found)
            if mask is not None:
                shape = mask.shape
                nuclei.append((file, number, *_crop(mask)))
        return paint(sample_id, shape, nuclei, found) if shape else (None, found)


@dataclass(frozen=True)
class WholeMask:
    """One file with all nuclei: a label map or a binary mask, see `labels_from_mask`."""

    file: File

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Read the label map; `shape` is that of the image, None if unknown. See `Sample.examine_labels`."""
        found: list[Problem] = []
        mask = _read(self.file, sample_id, shape, found)
        if mask is None:
            return None, found

        def report(what: str, fatal: bool, detail: str = "") -> None:
            found.append(Problem(str(self.file), sample_id, what, fatal, detail))

        labels = consecutive(mask)
        count = int(labels.max())
        if count == 0:
            report(problems.NO_NUCLEI, fatal=False)
        elif labels.min() > 0:
            report(problems.NO_BACKGROUND, fatal=True, detail=f"every pixel is above 0, the lowest is {mask.min()}")
        elif _is_hollow(labels > 0):
            report(problems.HOLLOW, fatal=True)
        elif count == 1:
            labels = labels_from_mask(mask)
            if labels.max() > 1:
                report(problems.BINARY, fatal=False, detail=f"{labels.max()} components, each of which counts as one")
        else:
            boxes = enumerate(ndimage.find_objects(labels), 1)
            pieces = np.array([count_pieces(labels[box] == number) for number, box in boxes])
            torn = int(np.count_nonzero(pieces > 1))
            if 2 * torn > count or pieces.sum() > 2 * count or 2 * _count_enclosed(labels) >= count:
                detail = f"its {count} values lie in {pieces.sum()} pieces or in one another"
                report(problems.NOT_NUCLEI, fatal=True, detail=detail)
            elif torn:
                report(problems.IN_PIECES, fatal=False, detail=f"{torn} of {count} labels")
        areas = np.bincount(labels.ravel())[1:]
        is_sparse = areas.sum() <= _MOST_COVERED * labels.size
        if len(areas) >= _FEWEST_POINTS and is_sparse and not any(problem.fatal for problem in found):
            median, most = np.percentile(areas, (50, 90))
            if median <= _LARGEST_POINT:  # if there are larger ones, too, the others may be specks
                detail = f"half of {len(areas)} have {median:.0f} or fewer"
                report(problems.POINTS, fatal=bool(most <= _LARGEST_POINT), detail=detail)
        return labels, found


@dataclass(frozen=True)
class RunLengthMasks:
    """The rows of a run-length table for one image; of overlapping nuclei the later row gets the pixels."""

    file: File
    nuclei: tuple[str, ...] = field(repr=False)

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Read the label map; `shape` is that of the image, None if unknown. See `Sample.examine_labels`."""
        if shape is None:
            return None, []
        found: list[Problem] = []
        return paint(sample_id, shape, self._decode(sample_id, shape, found), found)

    def _decode(self, sample_id: str, shape: tuple[int, int], found: list[Problem]) -> Iterator[Nucleus]:
        """Yield the nuclei one by one, so that a few bytes for many huge ones do not fill the memory."""
        for number, runs in enumerate(self.nuclei, 1):
            try:
                columns, rows = np.divmod(decode_run_lengths(runs, shape), shape[0])
            except ValueError as error:
                detail = f"{sample_id}, nucleus {number}: {error}"
                found.append(Problem(str(self.file), sample_id, problems.BAD_RUN_LENGTHS, True, detail))
                continue
            top, left = int(rows.min()), int(columns.min())
            pixels = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1), bool)
            pixels[rows - top, columns - left] = True
            yield self.file, number, pixels, top, left


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
        0 = background, 1..n = nuclei, every number in use.

    Examples
    --------
    >>> labels_from_mask(np.array([[255, 0, 255]], np.uint8))
    array([[1, 0, 2]], dtype=int32)
    >>> labels_from_mask(np.array([[7, 0, 7, 9]], np.uint8))
    array([[1, 0, 1, 2]], dtype=int32)
    """
    labels = consecutive(pixels)
    if labels.max(initial=0) != 1:
        return labels
    # scikit-image and SciPy find the same components but number some in another order, and take 2 to 4 times as long.
    return cv2.connectedComponents(labels.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)[1]


def reason(file: File, error: Exception) -> str:
    """Return the message of an error without the name of the file, which a problem names already."""
    return str(error).removeprefix(str(file)).lstrip(" :,")


def _read(file: File, sample_id: str, shape: tuple[int, ...] | None, found: list[Problem]) -> np.ndarray | None:
    """Read a mask file; if it is unreadable or not of the shape, add that to `found` and return None."""
    try:
        mask = read_label_map(file)
    except (ImageError, OSError) as error:
        found.append(Problem(str(file), sample_id, problems.UNREADABLE_MASK, True, reason(file, error)))
        return None
    if shape is None or mask.shape == shape:
        return mask
    got, expected = (f"{height} x {width}" for height, width in (mask.shape, shape))
    detail = f"the mask has {got} pixels (rows x columns), the image {expected}"
    found.append(Problem(str(file), sample_id, problems.SIZE_DIFFERS, True, detail))
    return None


def _crop(mask: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Return the pixels above 0 in their bounding box, (h, w) bool, and its top and left."""
    byte_mask = mask if mask.dtype == np.uint8 else (mask > 0).view(np.uint8)
    left, top, width, height = cv2.boundingRect(byte_mask)
    return byte_mask[top : top + height, left : left + width] > 0, top, left


def _is_hollow(foreground: np.ndarray) -> bool:
    """Tell outlines of up to four pixels around nuclei from nuclei, of which most pixels lie in squares of 5 x 5."""
    stored = np.pad(foreground.astype(np.uint8), 1)
    kept = cv2.morphologyEx(stored, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    if 2 * np.count_nonzero(kept) > np.count_nonzero(stored):
        return False
    parts = cv2.connectedComponents(1 - stored, connectivity=4)[1]
    enclosed = np.count_nonzero((parts != parts[0, 0]) & (stored == 0))
    return bool(enclosed > _MOST_ENCLOSED * np.count_nonzero(stored))


def _count_enclosed(labels: np.ndarray) -> int:
    """Count the labels that touch one or two others and no background, as rims of shades or borders make them."""
    steps = ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
    touching = np.concatenate([np.stack([a[a != b], b[a != b]], axis=-1) for a, b in steps])
    touching = np.unique(np.concatenate([touching, touching[:, ::-1]]), axis=0)
    neighbours = np.bincount(touching[:, 0], minlength=labels.max() + 1)
    neighbours[touching[touching[:, 1] == 0, 0]] = 0
    return int(np.count_nonzero((neighbours[1:] == 1) | (neighbours[1:] == 2)))

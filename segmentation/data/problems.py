"""What can be wrong with a data set, and the report of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# The kinds of problem, as they are printed.
UNREADABLE_IMAGE = "unreadable image"
UNREADABLE_MASK = "unreadable mask"
GAPS = "values that are NaN or infinite, taken for background"
NO_MASKS = "image without masks"
NO_IMAGE = "masks without an image"
SEVERAL_FILES = "several files where one was expected"
SIZE_DIFFERS = "size of mask and image differ"
NO_NUCLEI = "no nuclei"
NO_BACKGROUND = "no background"
OVERLAP = "overlapping masks"
EMPTY_MASK = "empty mask file"
IN_PIECES = "nucleus in several pieces"
MANY_IN_ONE = "many nuclei in a mask file of one nucleus"
BINARY = "binary mask, in which nuclei that touch are one"
NO_NUCLEI_AT_ALL = "no nuclei in any image"
INVERTED = "mask that looks inverted: white background, black nuclei"
TURNED = "mask that fits its image better when turned or mirrored"
SHIFTED = "mask that fits its image better when moved"
OF_ANOTHER = "mask that fits another image better than its own"
OTHER_SIZE = "nuclei of another size than in most images of this kind"
NOT_NUCLEI = "mask of shades (resized or smoothed), classes or borders, where each nucleus has a number of its own"
HOLLOW = "mask of outlines, where filled nuclei were expected"
POINTS = "nuclei of a few pixels, as in a mask of points or of specks"
BAD_RUN_LENGTHS = "invalid run lengths"
NO_AREA = "selections without an area, or of a class that QuPath ignores, which are left out"
OUTSIDE = "outlines outside the image: are they of another one, or in micrometres?"
REGION = "outline around other nuclei: delete outlines of regions"
NOT_READ = "masks that are not read, as there are label maps in labels/"
UNUSED_ROWS = "run lengths without an image"
SAME_PICTURE = "the same picture under two names"
PICTURE_ON_BOTH_SIDES = "the same picture on both sides of the split"
GROUP_ON_BOTH_SIDES = "tiles of one field on both sides of the split"
NOT_IN_SPLIT = "not in the split"
NOT_IN_DATA = "in the split but not in the data"
EMPTY_SUBSET = "subset without a sample"


class DatasetError(ValueError):
    """A data set, or a table about it, cannot be used; the message names the file or folder."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set; `what` is one of the kinds above, `detail` the figures of this case.

    It is fatal if training would learn, or scoring count, something false; all else is a warning. The sample id is
    empty if it belongs to no single sample.
    """

    file: str
    sample_id: str
    what: str
    fatal: bool
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.what}" + (f" ({self.detail})" if self.detail else "")


def describe_problems(found: Sequence[Problem], path: Path) -> str:
    """List all problems by kind, the fatal ones first; files are named relative to `path`."""
    groups = defaultdict(list)
    for problem in found:
        groups[not problem.fatal, problem.what].append(problem)
    lines = []
    for (harmless, what), members in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1])):
        lines += ["", f"{'warning' if harmless else 'FATAL'}: {what} ({len(members):,})"]
        for problem in members:
            file = problem.file.removeprefix(str(path)).lstrip("/\\") or problem.file
            lines.append(f"  {file}" + (f": {problem.detail}" if problem.detail else ""))
    fatal = sum(problem.fatal for problem in found)
    lines += ["", f"{fatal:,} fatal problems, {len(found) - fatal:,} warnings" if found else "no problems"]
    return "\n".join(lines)

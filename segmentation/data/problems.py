"""What can be wrong with a data set, and how it is said."""

from dataclasses import dataclass

# The kinds of problem, worded so that the report can group by them.
UNREADABLE_IMAGE = "unreadable image"
UNREADABLE_MASK = "unreadable mask"
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
GREY_MASK = "mask with shades of grey"
BAD_RUN_LENGTHS = "invalid run lengths"
UNUSED_ROWS = "run lengths without an image"
SAME_PICTURE = "the same picture under two names"
PICTURE_ON_BOTH_SIDES = "the same picture on both sides of the split"
GROUP_ON_BOTH_SIDES = "tiles of one field on both sides of the split"
NOT_IN_SPLIT = "not in the split"
NOT_IN_DATA = "in the split but not in the data"
EMPTY_SUBSET = "subset without a sample"


class DatasetError(ValueError):
    """A data set, or a table about it, that cannot be used; the message names the file or folder."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set.

    Attributes
    ----------
    file : str
        The file that has it.
    sample_id : str
        The sample that has it; empty where it belongs to no single one.
    what : str
        One of the kinds of problem above.
    fatal : bool
        Whether it would corrupt training: a sample that would teach or score something false. What merely wastes
        or lacks something is a warning.
    detail : str
        The figures of this case, e.g. "3 pixels".
    """

    file: str
    sample_id: str
    what: str
    fatal: bool
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.what}" + (f" ({self.detail})" if self.detail else "")

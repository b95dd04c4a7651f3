"""What the decoders of the file formats hand back, and the limits they apply before giving memory to a picture."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.data.formats.pixel_size import PixelSize

# 20,000 x 20,000 pixels: 2.4 GB as 16-bit colour. Larger pictures are read by blocks, not whole.
MAX_PIXELS = 400_000_000

# Deflate cannot shrink data further: at best, two bits stand for a run of 258 bytes.
DEFLATE_EXPANSION = 1032
# Other codecs have no such bound; Zstandard's runs of 128 KiB in four bytes go furthest in practice.
EXPANSION_OF_CODECS = 32_768

# The codecs log what is wrong with a file, and Python prints that to standard error unless there is a handler.
for _codec in ("imagecodecs", "tifffile"):
    logging.getLogger(_codec).addHandler(logging.NullHandler())


class DecodeError(ValueError):
    """Why bytes do not make one picture, worded to follow the name of their file ("is empty", "holds ...")."""


class Undecided(DecodeError):
    """A file of several pictures, planes or channels, none of which was chosen; `advice` says how predict_masks.py can.

    `alone` is the message for readers without such options.
    """

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found}{advice}")
        self.alone = f"{found}: save the picture that is wanted as a file of its own"


#: To choose one of several pictures of a file.
CHOOSE_SERIES = ": choose one with --series N, or take all with --series all"


@dataclass(frozen=True, eq=False)
class Decoded:
    """One picture as its file stores it.

    Attributes
    ----------
    pixels : ndarray of shape (H, W) or (H, W, 3)
        Grey levels, palette indices, or RGB, in the dtype of the file (bool for one bit a pixel in TIFF). Alpha is
        already dropped.
    palette : ndarray of shape (N, 3) and dtype uint8, or None
        RGB of each index where `pixels` are indices into a palette.
    black : number or None
        The stored value that is black where 0 is white (MinIsWhite in TIFF); None where 0 is black.
    lossy : bool
        The compression changes values, so the pixels cannot be labels.
    pixel_size_um : PixelSize or None
        Height and width of a pixel in micrometres, where the file tells.
    channels : ndarray of shape (H, W, K), or None
        All channels, where `pixels` is the one that was chosen; as stored, but bool is 0 and 255, and 0 is black.
    names : tuple of str
        Of these channels.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None
    black: float | None = None
    lossy: bool = False
    pixel_size_um: PixelSize | None = None
    channels: np.ndarray | None = None
    names: tuple[str, ...] = ()


def check_claim(
    width: int,
    height: int,
    claimed_bytes: int,
    present_bytes: int,
    expansion: int,
    unit: str = "pixels",
    most_pixels: int | None = MAX_PIXELS,
) -> None:
    """Compare the size that a header claims with the data that follow it.

    Parameters
    ----------
    width, height : int
        Claimed size in `unit`, which the message names.
    claimed_bytes, present_bytes : int
        Size of the decoded picture, and of the compressed data in the file.
    expansion : int
        The most decoded bytes that one compressed byte can stand for.
    most_pixels : int or None
        The most that may be claimed; None without a limit.

    Raises
    ------
    DecodeError
        The picture is empty, larger than `most_pixels`, or larger than its data can be.
    """
    claim = f"claims {width:,} x {height:,} {unit}"
    if width < 1 or height < 1:
        raise DecodeError(f"{claim}, where at least 1 x 1 was expected")
    if most_pixels is not None and width * height > most_pixels:
        raise DecodeError(
            f"{claim} ({present_bytes:,} bytes of data), where at most {most_pixels:,} pixels are read at once"
        )
    if claimed_bytes > present_bytes * expansion:
        raise DecodeError(
            f"{claim}, but has {present_bytes:,} bytes of data, where at least "
            f"{-(-claimed_bytes // expansion):,} were expected: it is truncated or not what it claims to be"
        )


def one_line(error: Exception) -> str:
    """Fold the message of a library into one line of at most 120 characters."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def list_first(names: Sequence[str], most: int) -> str:
    """List names for a message; of more than `most` the first ones, and how many more there are.

    Examples
    --------
    >>> list_first(["a", "b"], 2), list_first(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    first = ", ".join(names[:most])
    return first if len(names) <= most else f"{first} and {len(names) - most:,} more"

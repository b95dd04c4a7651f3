"""The table of all nuclei, nuclei.csv: its columns and rows."""

from collections.abc import Sequence

import numpy as np

from segmentation.data.images import Image
from segmentation.results.measurement import column_names, measure_nuclei

# Every nuclei.csv has these columns, whatever the images are, so that tables of several calls can be joined.
COLUMNS = ("image", *column_names(("grey", "red", "green", "blue")))


def measure_image(labels: np.ndarray, image: Image) -> dict[str, np.ndarray]:
    """Measure the nuclei of an image as `measure_nuclei`, in all channels of its file.

    Where the file has several channels, of which the network saw one, that one is the channel ``grey``; besides, each
    channel is measured under its own name.

    Parameters
    ----------
    labels : (H, W) ndarray of integers
        0 is background.
    image : Image
        H x W pixels.
    """
    return measure_nuclei(labels, image.pixels, image.channel_names, image.pixel_size_um)


def further_columns(channel_names: Sequence[str]) -> list[str]:
    """Return the columns of images with these channels that are not in `COLUMNS`.

    Examples
    --------
    >>> further_columns(["DAPI"])[:2]
    ['mean_intensity_DAPI', 'min_intensity_DAPI']
    """
    return [name for name in column_names(channel_names) if name not in COLUMNS]


def table_rows(image: str, table: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    """Format a table for a CSV whose header is `COLUMNS`, then `further_columns`.

    Parameters
    ----------
    image : str
        Name of the image, for the first column.
    table : dict of str to (n,) ndarray
        From `measure_nuclei`.

    Returns
    -------
    list of tuple of str
        A row for each nucleus. Numbers have seven significant digits, whole numbers all of theirs; yes and no are
        `true` and `false`. Empty where the image has no such channel, or no pixel size.
    """
    count = len(table["label"])
    names = [*COLUMNS[1:], *(name for name in table if name not in COLUMNS)]
    columns = [_formatted(table[name]) if name in table else [""] * count for name in names]
    return list(zip([image] * count, *columns, strict=True))


def _formatted(values: np.ndarray) -> list[str]:
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values]
    if values.dtype.kind == "f":
        return [f"{value:.7g}" for value in values.tolist()]
    return [str(value) for value in values.tolist()]

"""The table of all nuclei, nuclei.csv: its columns and rows."""

from collections.abc import Sequence

import numpy as np

from segmentation.data.images import Image
from segmentation.results.measurement import column_names, measure_nuclei

# Every nuclei.csv has these columns, whatever the images are, so that tables of several calls can be joined.
COLUMNS = ("image", *column_names(("grey", "red", "green", "blue")))


def measured_names(image: Image) -> list[str]:
    """Return the names of the channels that `measure_image` measures: those of the pixels, then others of the file."""
    names = list(image.channel_names)
    # Without a choice of a channel, the pixels are all that is measured.
    others = getattr(image, "measured_names", image.channel_names)
    if tuple(others) != tuple(names):
        for number, name in enumerate(others, 1):
            names.append(f"{name}_{number}" if name in names else name)
    return names


def measure_image(labels: np.ndarray, image: Image) -> dict[str, np.ndarray]:
    """Measure the nuclei of an image, (H, W) labels of any integers, as `measure_nuclei` in all channels of its file.

    Where one of several channels was chosen, that one is ``grey``, and each channel is measured under its own name too.
    """
    names = measured_names(image)
    pixels = image.pixels
    if len(names) > pixels.shape[2]:
        pixels = np.concatenate([pixels, getattr(image, "measured", pixels)], axis=2)
    return measure_nuclei(labels, pixels, names, image.pixel_size_um)


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

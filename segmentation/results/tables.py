"""Measure every nucleus of an image: a table with a row a nucleus.

All nuclei are measured at once, by sums over pixels and runs of pixels; only the convex hulls are found one by one.
The measurements are those of `skimage.measure.regionprops`, at a small part of the time.
"""

import cv2
import numpy as np

# Header of nuclei.csv. It is the same whatever the images are, so that tables of several runs can be put together.
COLUMNS = (
    *("image", "label", "area", "centroid_y", "centroid_x"),
    *("bbox_min_y", "bbox_min_x", "bbox_max_y", "bbox_max_x"),
    *("eccentricity", "solidity"),
    *("mean_intensity_grey", "mean_intensity_red", "mean_intensity_green", "mean_intensity_blue"),
    *("touches_edge", "area_um2", "centroid_y_um", "centroid_x_um"),
    *("bbox_min_y_um", "bbox_min_x_um", "bbox_max_y_um", "bbox_max_x_um"),
)
# What is given in micrometres too, besides the area.
_LENGTHS = ("centroid_y", "centroid_x", "bbox_min_y", "bbox_min_x", "bbox_max_y", "bbox_max_x")


def measure_nuclei(labels, pixels, channel_names, pixel_size_um=None):
    """Measure the nuclei of one image.

    ============================================  ====================================================================
    `label`                                       as in the label map
    `area`                                        in pixels
    `centroid_y`, `centroid_x`                    mean row and column; (0, 0) is the centre of the top left pixel
    `bbox_min_y`, `bbox_min_x`,                   bounding box in rows and columns, from 0; the minima are inside,
    `bbox_max_y`, `bbox_max_x`                    the maxima just outside
    `eccentricity`                                of the ellipse with the same second moments, 0 (circle) to 1 (line)
    `solidity`                                    area over the number of pixels in the convex hull, up to 1
    `mean_intensity_CHANNEL`                      for each channel of the image, in the unit of its file
    `touches_edge`                                whether the image cuts it: its area is then that of a part
    `area_um2`, `centroid_y_um`, `centroid_x_um`  in micrometres, only where the pixel size is known: the columns of the
    `bbox_min_y_um`, `bbox_min_x_um`,             same names without `_um` times the pixel size, or its square
    `bbox_max_y_um`, `bbox_max_x_um`
    ============================================  ====================================================================

    Parameters
    ----------
    labels : (H, W) ndarray of integers
        0 is background. Labels need not be consecutive.
    pixels : (H, W, C) ndarray
        The image as it was read, of any dtype.
    channel_names : sequence of str
        C names: of an `Image`, ("grey",) or ("red", "green", "blue").
    pixel_size_um : float, optional
        Side of a pixel in micrometres.

    Returns
    -------
    dict of str to (n,) ndarray
        Columns in the order above, rows in the order of the labels.

    Raises
    ------
    ValueError
        If image and label map differ in size.
    """
    if pixels.shape != (*labels.shape, len(channel_names)):
        raise ValueError(
            f"pixels have the shape {pixels.shape} and labels {labels.shape}; "
            f"expected (H, W, {len(channel_names)}) and (H, W)."
        )
    # Nuclei are numbered 0..n-1 from here on; most arrays below have an entry a foreground pixel.
    y, x = np.nonzero(labels)
    label = labels[y, x]
    area = np.bincount(label)
    present = np.flatnonzero(area)
    area = area[present]
    number = np.searchsorted(present, label) if len(present) < present.max(initial=0) else label.astype(np.intp) - 1
    box = _boxes(y, x, number, len(present))

    def mean(values):
        return np.bincount(number, values, len(present)) / area

    centroid_y, centroid_x = mean(y), mean(x)
    # Relative to the centroid: the difference of two large sums would lose digits far from the origin.
    dy, dx = y - centroid_y[number], x - centroid_x[number]
    height, width = labels.shape
    table = {
        "label": present,
        "area": area,
        "centroid_y": centroid_y,
        "centroid_x": centroid_x,
        "bbox_min_y": box[:, 0],
        "bbox_min_x": box[:, 1],
        "bbox_max_y": box[:, 2],
        "bbox_max_x": box[:, 3],
        "eccentricity": _eccentricity(mean(dy * dy), mean(dx * dx), mean(dy * dx)),
        "solidity": area / _convex_area(y, x, number, box),
    }
    for channel, name in enumerate(channel_names):
        table[f"mean_intensity_{name}"] = mean(pixels[y, x, channel])
    table["touches_edge"] = (box[:, :2] == 0).any(1) | (box[:, 2] == height) | (box[:, 3] == width)
    if pixel_size_um is not None:
        add_micrometres(table, pixel_size_um)
    return table


def add_micrometres(table, pixel_size_um):
    """Add the columns in micrometres to a table of `measure_nuclei`, from those in pixels."""
    table["area_um2"] = table["area"] * pixel_size_um**2
    for name in _LENGTHS:
        table[f"{name}_um"] = table[name] * pixel_size_um


def table_rows(image, table):
    """Format a table for a CSV with the header `COLUMNS`.

    Parameters
    ----------
    image : str
        Name of the image, for the first column.
    table : dict of str to (n,) ndarray
        From `measure_nuclei`.

    Returns
    -------
    list of tuple of str
        A row a nucleus. Seven significant digits; `true` and `false`; empty where the image has no such channel, or no
        pixel size.
    """
    count = len(table["label"])
    columns = [_formatted(table[name]) if name in table else [""] * count for name in COLUMNS[1:]]
    return list(zip([image] * count, *columns, strict=True))


def _formatted(values):
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values]
    if values.dtype.kind == "f":
        return [f"{value:.7g}" for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def _boxes(y, x, number, count):
    """Bounding boxes, (n, 4): least row and column, and those just beyond the greatest."""
    box = np.empty((count, 4), np.int64)
    box[:, :2], box[:, 2:] = np.iinfo(np.int64).max, 0
    for axis, values in enumerate((y, x)):
        np.minimum.at(box[:, axis], number, values)
        np.maximum.at(box[:, axis + 2], number, values + 1)
    return box


def _eccentricity(yy, xx, yx):
    """Eccentricity from the second central moments: sqrt(1 - smaller / larger eigenvalue); 0 for a single pixel."""
    mean, spread = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    larger, smaller = mean + spread, np.maximum(mean - spread, 0)
    return np.sqrt(1 - np.divide(smaller, larger, out=np.ones_like(larger), where=larger > 0))


def _convex_area(y, x, number, box):
    """Number of pixels whose centre lies in the convex hull of each nucleus.

    The hull is that of the four points half a pixel from the centre of each pixel, along rows and columns, as
    scikit-image has it. Coordinates are doubled, so that they, and all that follows from them, are integers.
    """
    count = len(box)
    heights = box[:, 2] - box[:, 0]
    # One entry a row of a nucleus; only its first and last pixel can be corners of the hull.
    row_start = np.concatenate([[0], np.cumsum(heights)])
    row = row_start[number] + y - box[number, 0]
    first, last = _first_and_last(row, x, row_start[-1])
    row_y = np.arange(row_start[-1]) - np.repeat(row_start[:-1] - box[:, 0], heights)

    # A nucleus in pieces may leave rows empty between them: they hold no corner.
    filled = last >= 0
    owner = np.repeat(np.arange(count), heights)[filled]
    first, last, row_y = 2 * first[filled], 2 * last[filled], 2 * row_y[filled]
    corners = np.stack(
        [
            np.stack([first - 1, row_y], -1),
            np.stack([first, row_y - 1], -1),
            np.stack([first, row_y + 1], -1),
            np.stack([last + 1, row_y], -1),
            np.stack([last, row_y - 1], -1),
            np.stack([last, row_y + 1], -1),
        ],
        axis=1,
    ).astype(np.int32)
    limits = np.searchsorted(owner, np.arange(count + 1))
    hulls = [cv2.convexHull(corners[a:b].reshape(-1, 2))[:, 0] for a, b in zip(limits[:-1], limits[1:], strict=True)]
    if not hulls:
        return np.zeros(0)
    left, right = _hull_rows(hulls, row_start, box)
    return np.add.reduceat(right - left + 1, row_start[:-1])


def _first_and_last(row, x, rows):
    """Least and largest column of each row of each nucleus; pixels come in raster order. Empty rows give last < 0."""
    first, last = np.full(rows, np.iinfo(np.int32).max, np.int64), np.full(rows, -1, np.int64)
    # Within a run of neighbouring pixels only the ends count, which leaves few entries for the slower ufunc.at.
    breaks = np.flatnonzero((row[1:] != row[:-1]) | (x[1:] != x[:-1] + 1))
    starts = np.concatenate([np.zeros(min(1, len(row)), np.int64), breaks + 1])
    ends = np.concatenate([breaks, np.full(min(1, len(row)), len(row) - 1)])
    np.minimum.at(first, row[starts], x[starts])
    np.maximum.at(last, row[ends], x[ends])
    return first, last


def _hull_rows(hulls, row_start, box):
    """First and last pixel in the hull for each row of each nucleus; the hulls have doubled coordinates."""
    sizes = [len(hull) for hull in hulls]
    here = np.concatenate(hulls).astype(np.int64)
    ends = np.cumsum(sizes)
    following = np.roll(here, -1, axis=0)
    following[ends - 1] = here[ends - sizes]
    owner = np.repeat(np.arange(len(hulls)), sizes)

    # Each edge from its upper to its lower end. Level edges add nothing: their ends are ends of other edges as well.
    downwards = (here[:, 1] < following[:, 1])[:, None]
    upper, lower = np.where(downwards, here, following), np.where(downwards, following, here)
    sloped = upper[:, 1] < lower[:, 1]
    upper, lower, owner = upper[sloped], lower[sloped], owner[sloped]

    # The even ordinates (rows of pixels) that each edge crosses.
    top, bottom = -(-upper[:, 1] // 2), lower[:, 1] // 2
    crossings = np.maximum(bottom - top + 1, 0)
    edge = np.repeat(np.arange(len(top)), crossings)
    y = np.arange(len(edge)) - np.repeat(np.cumsum(crossings) - crossings - top, crossings)

    drop = (lower[:, 1] - upper[:, 1])[edge]
    x = upper[edge, 0] * drop + (2 * y - upper[edge, 1]) * (lower[:, 0] - upper[:, 0])[edge]
    row = row_start[owner[edge]] + y - box[owner[edge], 0]
    left, right = np.full(row_start[-1], np.iinfo(np.int64).max), np.full(row_start[-1], np.iinfo(np.int64).min)
    # x / (2 drop) is the column where the edge crosses; pixels from the next column on, and up to the last, are inside.
    np.minimum.at(left, row, -(-x // (2 * drop)))
    np.maximum.at(right, row, x // (2 * drop))
    return left, right

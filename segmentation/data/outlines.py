"""Outlines of nuclei as truth: selections of ImageJ (a zip or a single .roi) and GeoJSON of QuPath.

As in both programs, the pixel in row y and column x is the square from (x, y) to (x + 1, y + 1), and it belongs to a
nucleus if its centre lies inside the outline. What this project writes (`segmentation.results.rois`,
`segmentation.results.geojson`) gives the same label map back. Of a cell of QuPath the nucleus is taken.
"""

import io
import json
import logging
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from segmentation.data import problems
from segmentation.data.archive import UNREADABLE, File
from segmentation.data.formats.decoded import one_line
from segmentation.data.painting import MOST_COVER, Nucleus, paint
from segmentation.data.problems import Problem

OUTLINE_SUFFIXES = frozenset({".zip", ".roi", ".geojson"})
# A nucleus takes one or two kilobytes.
MOST_BYTES, MOST_OUTLINES = 200_000_000, 200_000
# An outline that is this many times as large as the middle one, and holds another one, is a region.
REGION = 4

# What is wrong with a selection is a problem of its data set, nothing to print by the way.
logging.getLogger("roifile").addHandler(logging.NullHandler())

# The outer rings and holes of a nucleus, each (n, 2) float64, x and y.
Rings = list[np.ndarray]


class OutlineError(ValueError):
    """A file holds no readable outlines; the message completes the sentence "FILE ..."."""


@dataclass(frozen=True)
class OutlineMasks:
    """A file of outlines, one a nucleus; of overlapping nuclei the later one gets the pixels."""

    file: File

    def read(self, sample_id: str, shape: tuple[int, int] | None) -> tuple[np.ndarray | None, list[Problem]]:
        """Read the label map; `shape` is that of the image, None if unknown. See `Sample.examine_labels`."""
        if shape is None:
            return None, []
        found: list[Problem] = []

        def report(what: str, fatal: bool, detail: str) -> None:
            found.append(Problem(str(self.file), sample_id, what, fatal, detail))

        try:
            outlines = read_outlines(self.file)
            nuclei = list(self._fill(outlines, shape))
        except (OutlineError, OSError) as error:
            report(problems.UNREADABLE_MASK, True, str(error).removeprefix(str(self.file)).lstrip(" :"))
            return None, found
        without_area = sum(not rings for rings in outlines)
        if without_area:
            report(problems.NO_AREA, False, f"{without_area} of {len(outlines)}, such as points or Ignore*")
        outside = [rings for rings in outlines if rings and not _touches(rings, shape)]
        if outside:
            x, y = np.concatenate(outside[0]).mean(axis=0)
            where = f"one at x = {x:.0f}, y = {y:.0f}; the image has {shape[1]} x {shape[0]} pixels"
            detail = f"{len(outside)} of {len(outlines)}, {where}"
            report(problems.OUTSIDE, True, detail)
        regions = _find_regions(nuclei)
        if regions:
            report(problems.REGION, True, f"outline {regions[0]}; {len(regions)} of {len(outlines)}")
        return paint(sample_id, shape, nuclei, found)

    def _fill(self, outlines: list[Rings], shape: tuple[int, int]) -> Iterator[Nucleus]:
        cover = 0
        for number, rings in enumerate(filter(None, outlines), 1):
            pixels, top, left = fill_outline(rings, shape)
            yield self.file, number, pixels, top, left
            cover += pixels.size
            if cover > MOST_COVER * shape[0] * shape[1]:
                return  # `paint` refuses them


def read_outlines(file: File) -> list[Rings]:
    """Read the outlines in a file, by its suffix: GeoJSON, or else selections of ImageJ.

    Selections without an area, such as points and lines, have no rings, nor has what QuPath ignores: classes whose
    names end in an asterisk, such as Ignore* and Region*.

    Raises
    ------
    OutlineError
        If the file is damaged, too large, or holds something else.
    OSError
        If it cannot be read.
    """
    content = file.read_bytes()
    if len(content) > MOST_BYTES:
        raise OutlineError(f"has {len(content):,} bytes, where at most {MOST_BYTES:,} are read")
    outlines = list(_of_geojson(content) if file.suffix.lower() == ".geojson" else _of_imagej(content))
    for ring in (ring for rings in outlines for ring in rings):
        if not (np.isfinite(ring).all() and (np.abs(ring) < 1e9).all()):
            raise OutlineError("holds an outline whose coordinates are no numbers of pixels")
    return outlines


def fill_outline(rings: Rings, shape: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """Return the pixels of an (H, W) image whose centres lie inside, in a box (h, w) bool, and its top and left.

    A centre is inside if a line from it to the left crosses the rings an odd number of times, so that rings inside
    rings are holes. No library does this exactly: `cv2.fillPoly` and Pillow add the pixels along the edge.

    Examples
    --------
    >>> pixels, top, left = fill_outline([np.array([(1.0, 0.0), (3.0, 0.0), (3.0, 1.0), (1.0, 1.0)])], (2, 4))
    >>> pixels.tolist(), top, left
    ([[True, True]], 0, 1)
    """
    (x0, y0), (x1, y1) = np.concatenate(rings).T, np.concatenate([np.roll(ring, -1, axis=0) for ring in rings]).T
    # An edge crosses the centres of the rows from `first` to before `last`.
    bounds = (np.ceil(pick(y0, y1) - 0.5) for pick in (np.minimum, np.maximum))
    first, last = (np.clip(bound, 0, shape[0]).astype(np.int64) for bound in bounds)
    rows_crossed = last - first
    if not rows_crossed.any():
        return np.zeros((0, 0), bool), 0, 0
    width, height = (np.clip(side.max() - side.min(), 1, most) for side, most in ((x0, shape[1]), (y0, shape[0])))
    # As many as a row of pixels has edges would do; this also bounds the memory.
    if rows_crossed.sum() > 4 * (width + 2) * (height + 2) + 1000:
        raise OutlineError("holds an outline that crosses itself all over")
    edge = np.repeat(np.arange(len(x0)), rows_crossed)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(rows_crossed) - rows_crossed, rows_crossed) + first[edge]
    crossing = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(crossing - 0.5), 0, shape[1]).astype(np.int64)
    top, left = int(row.min()), int(column.min())
    box = int(row.max()) + 1 - top, int(column.max()) + 1 - left
    crossings = np.bincount((row - top) * box[1] + column - left, minlength=box[0] * box[1]).reshape(box)
    return np.bitwise_xor.accumulate(crossings & 1, axis=1)[:, :-1].astype(bool), top, left


def _of_imagej(content: bytes) -> Iterator[Rings]:
    if not content.startswith(b"PK"):
        yield _of_selection(content)[0]
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if _is_selection(PurePosixPath(member.filename))]
            if archive.namelist() and not members:
                raise OutlineError("is a zip without selections (.roi), which ImageJ's ROI Manager saves")
            size = sum(member.file_size for member in members)
            if size > MOST_BYTES or len(members) > MOST_OUTLINES:
                raise OutlineError(
                    f"holds {len(members):,} selections of {size:,} bytes, "
                    f"where at most {MOST_OUTLINES:,} of {MOST_BYTES:,} bytes are read"
                )
            places = []
            for member in members:
                rings, place = _of_selection(archive.read(member))
                yield rings
                places += [place] if rings else []
            several = max((len(set(numbers) - {0}) for numbers in zip(*places, strict=True)), default=0)
            if several > 1:
                raise OutlineError(
                    f"holds selections of {several} slices or frames, where those of one were expected: save each "
                    "slice's by themselves, or choose More > Remove Positions in the ROI Manager if they are of one"
                )
    except UNREADABLE as error:
        raise OutlineError(f"is a damaged zip ({one_line(error)})") from error


def _is_selection(name: PurePosixPath) -> bool:
    """Tell a selection from what macOS adds to a zip."""
    return name.suffix.lower() == ".roi" and not name.name.startswith(".")


def _of_selection(content: bytes) -> tuple[Rings, tuple[int, int, int]]:
    """Return the rings of a selection, and its slice, its plane in Z and its frame, 0 where it is on all."""
    import roifile  # for its 30 ms

    try:
        roi = roifile.ImagejRoi.frombytes(content)
        kinds, place = roifile.ROI_TYPE, (roi.position, roi.z_position, roi.t_position)
        has_area = roi.roitype in (kinds.POLYGON, kinds.RECT, kinds.OVAL, kinds.FREEHAND, kinds.TRACED)
        if not has_area or roi.subtype in (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE):
            return [], place
        if roi.roitype == kinds.OVAL or (roi.roitype == kinds.RECT and roi.rounded_rect_arc_size):
            angles, size = np.linspace(0, 2 * np.pi, 128, endpoint=False), (roi.right - roi.left, roi.bottom - roi.top)
            circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            if roi.roitype == kinds.OVAL:
                return [(roi.left, roi.top) + np.multiply(size, 1 + circle) / 2], place
            radii = np.minimum(roi.rounded_rect_arc_size, size) / 2
            middle = np.divide(size, 2)
            return [(roi.left, roi.top) + middle + circle * radii + np.sign(circle) * (middle - radii)], place
        rings = _of_path(roi.multi_coordinates.tolist()) if roi.multi_coordinates is not None else [roi.coordinates()]
        return [np.asarray(ring, np.float64) for ring in rings if len(ring) > 2], place
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, struct.error) as error:
        raise OutlineError(f"holds a damaged selection of ImageJ ({one_line(error)})") from error


def _of_path(path: list[float]) -> list[list[np.ndarray]]:
    """Follow a composite selection: commands (java.awt.geom.PathIterator), each with its points.

    Not with `roifile`, which refuses the curves of ovals.
    """
    rings: list[list[np.ndarray]] = []
    position = 0
    while position < len(path):
        command = path[position]
        if command not in (0, 1, 2, 3, 4):  # move, line, curves with one and two control points, close
            raise ValueError(f"unknown command {command:g} in a path")
        count = (1, 1, 2, 3, 0)[int(command)]
        points = np.array(path[position + 1 : position + 1 + 2 * count]).reshape(count, 2)
        position += 1 + 2 * count
        if command == 0:
            rings.append([points[0]])
        elif command == 1:
            rings[-1].append(points[0])
        elif count:
            control = np.stack([rings[-1][-1], *points])
            t = np.linspace(0, 1, 17)[1:, None, None]
            for _ in range(count):  # de Casteljau's construction, for all t at once
                control = control[..., :-1, :] + t * (control[..., 1:, :] - control[..., :-1, :])
            rings[-1].extend(control[:, 0])
    return rings


def _of_geojson(content: bytes) -> Iterator[Rings]:
    try:
        found = json.loads(content)
        if isinstance(found, dict):
            found = found["features"] if found.get("type") == "FeatureCollection" else [found]
        for feature in found:
            classification = (feature.get("properties") or {}).get("classification") or {}
            if str(classification.get("name")).endswith("*"):
                yield []
                continue
            geometry = feature.get("nucleusGeometry") or feature["geometry"]
            polygons = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}
            rings = [ring for polygon in polygons.get(geometry["type"], []) for ring in polygon]
            yield [np.array([point[:2] for point in ring], np.float64).reshape(len(ring), 2) for ring in rings]
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
        raise OutlineError(f"is no GeoJSON with outlines ({type(error).__name__}: {one_line(error)})") from error


def _touches(rings: Rings, shape: tuple[int, int]) -> bool:
    corners = np.concatenate(rings)
    return bool((corners.max(axis=0) > 0).all() and (corners.min(axis=0) < (shape[1], shape[0])).all())


def _find_regions(nuclei: list[Nucleus]) -> list[int]:
    """Return the numbers of outlines that are drawn around nuclei, as annotations of a region are."""
    areas = np.array([np.count_nonzero(pixels) for _, _, pixels, _, _ in nuclei])
    regions = []
    for index in np.flatnonzero(areas > REGION * np.median(areas)) if len(areas) else ():
        _, number, pixels, top, left = nuclei[index]
        for other, (_, _, inner, y, x) in enumerate(nuclei):
            part = pixels[max(0, y - top) :, max(0, x - left) :][: inner.shape[0], : inner.shape[1]]
            is_inside = y >= top and x >= left and part.shape == inner.shape and 0 < areas[other]
            if other != index and is_inside and part[inner].all():
                regions.append(number)
                break
    return regions

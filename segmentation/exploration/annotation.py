"""What looks wrong in the annotation: found by rules, ranked, shown. A suspect need not be an error: look at it."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from skimage.filters import gaussian
from skimage.measure import label, regionprops
from skimage.segmentation import expand_labels

from segmentation.data.masks import count_pieces
from segmentation.data.problems import OVERLAP
from segmentation.exploration.measures import enclosed
from segmentation.exploration.style import BLUE, GREY, frame, picture, plain, row_label, whole_numbers
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent, quantity, short
from segmentation.results.overlays import outlines

#: What each check looks for.
CHECKS = {
    "tiny": "less than a tenth of the median area of its image",
    "huge": "more than eight times the median area of its image",
    "hole": "background enclosed by the nucleus",
    "in pieces": "several pieces under one label",
    "very concave": "solidity below 0.8: fused nuclei or a slip of the pen",
    "cut straight": "a straight side over most of its width, inside the image",
    "no contrast": "as bright as its surroundings, or brighter where the others are darker",
    "unlabelled": "looks like a nucleus and has no label",
}
BOX = ["bbox_min_y", "bbox_min_x", "bbox_max_y", "bbox_max_x"]
# A median of fewer nuclei says little.
_FEWEST = 5
# In pixels: smaller holes come from drawing, and shapes of few pixels are ragged and straight by nature.
_SMALLEST_HOLE, _SMALLEST_SHAPE, _SMALLEST_SIDE = 4, 60, 12
# Pixels between a labelled nucleus and a blob that is not its halo.
_HALO = 4


def find_suspects(survey: Survey) -> pd.DataFrame:
    """Look for nuclei that look wrong, and for nuclei without a label, by the rules in `CHECKS`.

    Nuclei that the edge of the image cuts may be small or straight. Nuclei should be brighter or darker than their
    surroundings as most nuclei of their image are.

    Returns
    -------
    DataFrame
        In the order of `CHECKS`, the worst of each first; a nucleus may occur several times. Columns: `check`, `image`
        (row in the survey), `label` (0 for what has none), `severity` (comparable within a check), `figure` (the same
        in words), and the box as in the survey's nuclei.
    """
    nuclei, groups = survey.nuclei, survey.nuclei["image"]
    nuclei = nuclei.assign(
        median=nuclei["area"].mask(nuclei["touches_edge"]).groupby(groups).transform("median"),
        whole=(~nuclei["touches_edge"]).groupby(groups).transform("sum"),
        sign=np.where(nuclei["contrast"].groupby(groups).transform("median") >= 0, 1.0, -1.0),
    )
    found = [*_by_size(nuclei)]
    for image, own in nuclei.groupby("image"):
        labels = survey.cached.label_map(image)
        found += _by_shape(own, labels)
        if len(own) >= _FEWEST:
            found += _without_label(own, labels, survey.cached.pixels(image))
    suspects = pd.DataFrame(found, columns=["check", "image", "label", "severity", "figure", *BOX])
    suspects["check"] = pd.Categorical(suspects["check"], list(CHECKS), ordered=True)
    return suspects.sort_values(["check", "severity"], ascending=[True, False], ignore_index=True)


def _by_size(nuclei: pd.DataFrame) -> Iterator[tuple]:
    """Yield suspects by the columns of the table of nuclei."""
    area, typical = nuclei["area"], nuclei["median"].where(nuclei["whole"] >= _FEWEST)
    contrast = (nuclei["contrast"] * nuclei["sign"]).where(nuclei.groupby("image")["area"].transform("size") >= _FEWEST)
    concave = (nuclei["solidity"] < 0.8) & (area >= _SMALLEST_SHAPE)
    for check, wrong, severity, figure in (
        ("tiny", ~nuclei["touches_edge"] & (area < typical / 10), typical / area, "{area} px"),
        ("huge", area > 8 * typical, area / typical, "{severity:.0f} × median"),
        ("no contrast", contrast <= 0, -contrast, "contrast -{severity:.2f}"),
        ("very concave", concave, (1 - nuclei["solidity"]) * np.sqrt(area), "{area} px"),
    ):
        for row in nuclei[wrong].assign(severity=severity[wrong]).itertuples():
            yield _suspect(check, row, row.severity, figure.format(area=row.area, severity=row.severity))


def _by_shape(own: pd.DataFrame, labels: np.ndarray) -> Iterator[tuple]:
    """Yield suspects by the pixels of each nucleus of one image."""
    for row in own.itertuples():
        mask = labels[row.bbox_min_y : row.bbox_max_y, row.bbox_min_x : row.bbox_max_x] == row.label
        # Holes and pieces make a shape less convex; few have any.
        if row.solidity < 0.995:
            if (hole := enclosed(mask)) >= _SMALLEST_HOLE:
                yield _suspect("hole", row, hole, f"{hole} px")
            if (pieces := count_pieces(mask)) > 1:
                yield _suspect("in pieces", row, pieces, f"{pieces} pieces")
        if straight := longest_side(mask, [getattr(row, name) for name in BOX], labels.shape):
            yield _suspect("cut straight", row, straight, f"{straight} px")


def _suspect(check: str, row: Any, severity: float, figure: str) -> tuple:
    return (check, row.image, row.label, float(severity), figure, *(getattr(row, name) for name in BOX))


def longest_side(mask: np.ndarray, box: list[int], shape: tuple[int, ...]) -> int:
    """Return the length of the longest straight side of a nucleus along the rows or columns, in pixels; 0 if none.

    `mask`, (h, w) bool, is the nucleus in its bounding `box` (first row and column, and the ones after the last) in an
    image of `shape`. A side counts if it lies inside the image, the box is at least 12 pixels wide both ways, and the
    outermost row or column of the nucleus fills four fifths of the box: that of a disk of 12 pixels fills half.
    """
    if min(mask.shape) < _SMALLEST_SIDE:
        return 0
    inside = box[0] > 0, box[2] < shape[0], box[1] > 0, box[3] < shape[1]
    sides = zip((mask[0], mask[-1], mask[:, 0], mask[:, -1]), inside, strict=True)
    return max((int(side.sum()) for side, is_inside in sides if is_inside and side.mean() >= 0.8), default=0)


def _without_label(own: pd.DataFrame, labels: np.ndarray, pixels: np.ndarray) -> Iterator[tuple]:
    """Yield background that is as bright (or as dark) as the nuclei of the image and about as large as one."""
    grey = own["sign"].iloc[0] * gaussian(pixels.mean(axis=-1, dtype=np.float32) / 255, 1)
    nuclei, background = np.median(grey[labels > 0]), np.median(grey[labels == 0])
    typical = own["area"].median()
    free = expand_labels(labels, _HALO) == 0
    for blob in regionprops(label(free & (grey > nuclei)), grey):
        # Debris, cells without a nucleus and shading are large or thin: a nucleus fills its box.
        if typical / 2 <= blob.area <= 4 * typical and blob.extent >= 0.5:
            strength = (blob.intensity_mean - background) / max(nuclei - background, 1e-6)
            figure = f"{blob.area:.0f} px"
            yield ("unlabelled", own["image"].iloc[0], 0, float(strength * np.sqrt(blob.area)), figure, *blob.bbox)


def draw(survey: Survey, suspects: pd.DataFrame) -> Figure:
    """Draw how many suspects each check found."""
    counts = suspects["check"].value_counts(sort=False).rename(lambda check: f"{check}: {CHECKS[check]}")
    counts.loc["overlap: masks that claim pixels of another"] = count_overlaps(survey)
    figure, ((axes,),) = frame(10, 3.4)
    bars = axes.barh(range(len(counts)), counts, color=[*[BLUE] * len(CHECKS), GREY])
    axes.bar_label(bars, [f" {count:,}" for count in counts], fontsize=9)
    plain(axes, "What looks wrong in the annotation", "Suspects")
    axes.set_yticks(range(len(counts)), counts.index, fontsize=9)
    axes.invert_yaxis()
    whole_numbers(axes.xaxis)
    axes.set_xlim(0, 1.08 * max(1, counts.max()))
    axes.grid(visible=False, axis="y")
    return figure


def draw_worst(survey: Survey, suspects: pd.DataFrame, columns: int = 6) -> Figure:
    """Show the worst suspects of each check, a row a check; the suspect is outlined in red, others in blue."""
    counts = suspects["check"].value_counts(sort=False)
    present = counts[counts > 0]
    figure, axes = frame(1.7 * columns, 1.95 * max(len(present), 1), max(len(present), 1), columns)
    for panel in axes.flat:
        panel.set_axis_off()
    for panels, (check, count) in zip(axes, present.items(), strict=False):
        row_label(panels[0], f"{check}\n({count:,})")
        chosen = one_an_image(suspects[suspects["check"] == check]).head(columns)
        for panel, suspect in zip(panels, chosen.itertuples(), strict=False):
            place = f"x {suspect.bbox_min_x}, y {suspect.bbox_min_y}: {suspect.figure}"
            picture(panel, closeup(survey, suspect), f"{short(survey.images['id'][suspect.image])}\n{place}")
    return figure


def one_an_image(suspects: pd.DataFrame) -> pd.DataFrame:
    """Order: the worst suspect of each image, then the second of each, so that one bad image does not hide others."""
    return suspects.iloc[suspects.groupby("image").cumcount().argsort(kind="stable")]


def closeup(survey: Survey, suspect: Any) -> np.ndarray:
    """Cut a square out around a suspect (a row of the table), with outlines, and enlarge it; (256, 256, 3) uint8."""
    labels, (top, left, bottom, right) = survey.cached.label_map(suspect.image), (getattr(suspect, n) for n in BOX)
    marked = suspect.label
    if not marked:
        # Give what has no label the outline of its box.
        marked = labels.max() + 1
        box = labels[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2]
        box[box == 0] = marked
    side = min(max(int(1.8 * max(bottom - top, right - left)), 40), *labels.shape)
    first_row = min(max((top + bottom - side) // 2, 0), labels.shape[0] - side)
    first_column = min(max((left + right - side) // 2, 0), labels.shape[1] - side)
    shown = np.s_[first_row : first_row + side, first_column : first_column + side]
    # Enlarged first, so that the lines are thin.
    large = cv2.resize(survey.cached.pixels(suspect.image)[shown], (256, 256), interpolation=cv2.INTER_LINEAR)
    large_labels = cv2.resize(labels[shown].astype(np.float32), (256, 256), interpolation=cv2.INTER_NEAREST_EXACT)
    lines = outlines(large_labels.astype(np.int64), width=2)
    large[lines] = (86, 180, 233)
    large[lines & (large_labels == marked)] = (213, 94, 0)
    return large


def count_overlaps(survey: Survey) -> int:
    """Count the masks that claim pixels of another."""
    return sum(problem.what == OVERLAP for problem in survey.problems)


def describe(survey: Survey, suspects: pd.DataFrame) -> str:
    """Say how many nuclei are suspect, by which checks most, and where to look first."""
    total = quantity(len(survey.nuclei), "nucleus", "nuclei")
    if suspects.empty:
        return f"None of the {total} looks wrong by any of the rules."
    of_nuclei = suspects[suspects["label"] > 0]
    marked = len(of_nuclei.drop_duplicates(["image", "label"]))
    counts = of_nuclei["check"].value_counts().head(3)
    frequent = listing([f"{check} {count:,}" for check, count in counts[counts > 0].items()])
    by_image = suspects["image"].value_counts()
    unlabelled = quantity(len(suspects) - len(of_nuclei), "place")
    return (
        f"{marked:,} of {total} ({percent(marked / max(len(survey.nuclei), 1))}) look wrong by at least one rule"
        f"{f' (most often: {frequent})' if frequent else ''}, {unlabelled} might be a nucleus without a label and "
        f"{quantity(count_overlaps(survey), 'mask overlaps', 'masks overlap')} another, in "
        f"{quantity(len(by_image), 'image')}; begin with {survey.images['id'][by_image.index[0]]}, which has "
        f"{by_image.iloc[0]:,}."
    )


def describe_worst(survey: Survey, suspects: pd.DataFrame) -> str:
    """Name the worst suspect of each check, and where it is."""
    if suspects.empty:
        return "There is no suspect to show."
    worst = suspects.drop_duplicates("check").itertuples()
    places = [f"{s.check}: {survey.images['id'][s.image]} at x {s.bbox_min_x}, y {s.bbox_min_y}" for s in worst]
    return f"Look first at the worst of each sort ({'; '.join(places)})."

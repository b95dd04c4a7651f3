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

from segmentation.data.painting import count_pieces
from segmentation.data.problems import OVERLAP
from segmentation.exploration.measures import enclosed
from segmentation.exploration.style import frame, picture, row_label
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
    "no contrast": "as bright as its surroundings, or brighter where the others are darker",
    "unlabelled": "looks like a nucleus and has no label",
}
BOX = ["bbox_min_y", "bbox_min_x", "bbox_max_y", "bbox_max_x"]
# A median of fewer nuclei says little.
_FEWEST = 5
# In pixels: smaller holes come from drawing, and shapes of few pixels are ragged by nature.
_SMALLEST_HOLE, _SMALLEST_SHAPE = 4, 60
# Pixels between a labelled nucleus and a blob that is not its halo.
_HALO = 4


def find_suspects(survey: Survey) -> pd.DataFrame:
    """Look for nuclei that look wrong, and for nuclei without a label, by the rules in `CHECKS`.

    Nuclei that the edge of the image cuts may be small. Nuclei should be brighter or darker than their
    surroundings as most nuclei of their image are.

    Returns
    -------
    DataFrame
        In the order of `CHECKS`, the worst of each first; a nucleus may occur several times. Columns: `check`, `image`
        (row in the survey), `label` (0 for what has none), `severity` (comparable within a check), `figure` (the same
        in words), and the bounding box as in the survey's nuclei.
    """
    nuclei, groups = survey.nuclei, survey.nuclei["image"]
    nuclei = nuclei.assign(
        median=nuclei["area"].mask(nuclei["touches_edge"]).groupby(groups).transform("median"),
        whole=(~nuclei["touches_edge"]).groupby(groups).transform("sum"),
        sign=np.where(nuclei["contrast"].groupby(groups).transform("median") >= 0, 1.0, -1.0),
    )
    found = [*_by_measures(nuclei)]
    for image, own in nuclei.groupby("image"):
        labels = survey.cached.label_map(image)
        found += _by_shape(own, labels)
        if len(own) >= _FEWEST:
            found += _without_label(own, labels, survey.cached.pixels(image))
    suspects = pd.DataFrame(found, columns=["check", "image", "label", "severity", "figure", *BOX])
    suspects["check"] = pd.Categorical(suspects["check"], list(CHECKS), ordered=True)
    return suspects.sort_values(["check", "severity"], ascending=[True, False], ignore_index=True)


def _by_measures(nuclei: pd.DataFrame) -> Iterator[tuple]:
    """Yield suspects by the measures in the table of nuclei."""
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
            figure_of_row = figure.format(area=row.area, severity=row.severity)
            yield (check, row.image, row.label, row.severity, figure_of_row, *(getattr(row, name) for name in BOX))


def _by_shape(own: pd.DataFrame, labels: np.ndarray) -> Iterator[tuple]:
    """Yield nuclei of one image with holes or in pieces; both make a shape less convex."""
    for row in own[own["solidity"] < 0.995].itertuples():
        top, left, bottom, right = box = [getattr(row, name) for name in BOX]
        mask = labels[top:bottom, left:right] == row.label
        if (hole := enclosed(mask)) >= _SMALLEST_HOLE:
            yield ("hole", row.image, row.label, float(hole), f"{hole} px", *box)
        if (pieces := count_pieces(mask)) > 1:
            yield ("in pieces", row.image, row.label, float(pieces), f"{pieces} pieces", *box)


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


def draw(survey: Survey, suspects: pd.DataFrame, columns: int = 6) -> Figure:
    """Show the worst suspects of each check, a row a check; the suspect is outlined in red, others in blue."""
    counts = suspects["check"].value_counts(sort=False)
    present = counts[counts > 0]
    figure, axes = frame(1.7 * columns, 1.95 * max(len(present), 1), max(len(present), 1), columns)
    for panel in axes.flat:
        panel.set_axis_off()
    for panels, (check, count) in zip(axes, present.items(), strict=False):
        row_label(panels[0], f"{check}\n({count:,})")
        # First the worst of each image, then the second of each, so that one bad image does not hide others.
        own = suspects[suspects["check"] == check]
        chosen = own.iloc[own.groupby("image").cumcount().argsort(kind="stable")].head(columns)
        for panel, suspect in zip(panels, chosen.itertuples(), strict=False):
            place = f"x {suspect.bbox_min_x}, y {suspect.bbox_min_y}: {suspect.figure}"
            picture(panel, closeup(survey, suspect), f"{short(survey.images['id'][suspect.image])}\n{place}")
    return figure


def closeup(survey: Survey, suspect: Any) -> np.ndarray:
    """Cut a square out around a suspect (a row of the table), with outlines, and enlarge it; (256, 256, 3) uint8."""
    pixels, labels = survey.cached.pixels(suspect.image), survey.cached.label_map(suspect.image)
    top, left, bottom, right = (getattr(suspect, name) for name in BOX)
    marked = suspect.label
    if not marked:
        # Give what has no label the outline of its box.
        marked = labels.max() + 1
        box = labels[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2]
        box[box == 0] = marked
    side = min(max(int(1.8 * max(bottom - top, right - left)), 40), *labels.shape)
    first_row, first_column = np.clip(
        [(top + bottom - side) // 2, (left + right - side) // 2], 0, np.subtract(labels.shape, side)
    )
    shown = np.s_[first_row : first_row + side, first_column : first_column + side]
    # Enlarged first, so that the lines are thin.
    large = cv2.resize(pixels[shown], (256, 256), interpolation=cv2.INTER_LINEAR)
    large_labels = cv2.resize(labels[shown].astype(np.float32), (256, 256), interpolation=cv2.INTER_NEAREST_EXACT)
    lines = outlines(large_labels.astype(np.int64), width=2)
    large[lines] = (86, 180, 233)
    large[lines & (large_labels == marked)] = (213, 94, 0)
    return large


def describe(survey: Survey, suspects: pd.DataFrame) -> str:
    """Say how many nuclei are suspect, by which checks most, and where to begin."""
    total = quantity(len(survey.nuclei), "nucleus", "nuclei")
    overlaps = sum(problem.what == OVERLAP for problem in survey.problems)
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
        f"{quantity(overlaps, 'mask overlaps', 'masks overlap')} another, in "
        f"{quantity(len(by_image), 'image')}; begin with {survey.images['id'][by_image.index[0]]}, which has "
        f"{by_image.iloc[0]:,}."
    )

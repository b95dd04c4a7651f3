"""What looks wrong in the annotation: found by rules, ranked, shown. A suspect need not be an error: look at it."""

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from segmentation.data.masks import count_pieces
from segmentation.data.problems import OVERLAP
from segmentation.exploration.measures import enclosed, mean_channel
from segmentation.exploration.style import BLUE, GREY, frame, picture, plain, row_label, whole_numbers
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent, quantity, short
from segmentation.results.overlays import outlines

SPECK, GIANT, HOLE, PIECES, RAGGED, STRAIGHT, INVERTED, UNLABELLED = CHECKS = (
    "tiny",
    "huge",
    "hole",
    "in pieces",
    "very concave",
    "cut straight",
    "no contrast",
    "unlabelled",
)
MEANING = {
    SPECK: "less than a tenth of the median area of its image",
    GIANT: "more than eight times the median area of its image",
    HOLE: "background enclosed by the nucleus",
    PIECES: "several pieces under one label",
    RAGGED: "solidity below 0.8: fused nuclei or a slip of the pen",
    STRAIGHT: "a straight side over most of its width, inside the image",
    INVERTED: "as bright as its surroundings, or brighter where the others are darker",
    UNLABELLED: "looks like a nucleus and has no label",
}

# A median of fewer nuclei says little.
_FEWEST = 5
_TINY, _HUGE = 1 / 10, 8
# In pixels: smaller holes come from drawing, and shapes of few pixels are ragged and straight by nature.
_SMALLEST_HOLE = 4
_SMALLEST_SHAPE = 60
_SMALLEST_SIDE = 12
_SOLIDITY = 0.8
_STRAIGHT = 0.8
# Pixels between a labelled nucleus and a blob that is not its halo.
_HALO = 4


@dataclass(frozen=True)
class Suspect:
    """A place where the annotation looks wrong.

    Attributes
    ----------
    check : str
        One of `CHECKS`.
    image : int
        Index of the image.
    label : int
        Of the nucleus in the label map; 0 for what has no label.
    box : (int, int, int, int)
        First row and column, and the ones after the last, of what is suspect.
    severity : float
        Larger is worse; compares suspects of one check.
    figure : str
        How bad, in words.
    """

    check: str
    image: int
    label: int
    box: tuple[int, int, int, int]
    severity: float
    figure: str


def find_suspects(survey: Survey) -> list[Suspect]:
    """Look for nuclei that look wrong, and for nuclei that have no label.

    The rules are those of `MEANING`. Nuclei that the edge of the image cuts may be small or straight. Whether nuclei
    are brighter or darker than their surroundings is what most of the same image are.

    Parameters
    ----------
    survey : Survey

    Returns
    -------
    list of Suspect
        In the order of `CHECKS`, the worst of each first. A nucleus may be there several times.
    """
    found = []
    nuclei, images = survey.nuclei, survey.collection.images
    limits = np.searchsorted(nuclei["image"], np.arange(len(images) + 1))
    for index in range(len(images)):
        own = {name: column[limits[index] : limits[index + 1]] for name, column in nuclei.items()}
        if not len(own["label"]):
            continue
        labels = images.label_map(index)
        found += _by_table(index, own)
        found += _by_shape(index, own, labels)
        found += _without_label(index, own, labels, images.pixels(index))
    return sorted(found, key=lambda suspect: (CHECKS.index(suspect.check), -suspect.severity))


def _by_table(index: int, own: dict[str, np.ndarray]) -> list[Suspect]:
    """Suspects by what was measured of each nucleus already."""
    found = []
    area, whole = own["area"], ~own["touches_edge"]
    boxes = _boxes(own)

    def report(check: str, wrong: np.ndarray, severity: np.ndarray, figure: str) -> None:
        for row in np.flatnonzero(wrong):
            words = figure.format(area=area[row], severity=severity[row])
            found.append(Suspect(check, index, int(own["label"][row]), boxes[row], float(severity[row]), words))

    if whole.sum() >= _FEWEST:
        typical = np.median(area[whole])
        report(SPECK, whole & (area < _TINY * typical), typical / area, "{area} px")
        report(GIANT, area > _HUGE * typical, area / typical, "{severity:.0f} × median")
    contrast = own["contrast"] * _sign(own)
    if len(area) >= _FEWEST:
        report(INVERTED, contrast <= 0, -contrast, "-{severity:.2f}")
    ragged = (own["solidity"] < _SOLIDITY) & (area >= _SMALLEST_SHAPE)
    report(RAGGED, ragged, (1 - own["solidity"]) * np.sqrt(area), "{area} px")
    return found


def _by_shape(index: int, own: dict[str, np.ndarray], labels: np.ndarray) -> list[Suspect]:
    """Suspects by the pixels of each nucleus."""
    found = []
    for label, box, solidity in zip(own["label"].tolist(), _boxes(own), own["solidity"], strict=True):
        mask = labels[box[0] : box[2], box[1] : box[3]] == label
        # Holes and pieces make a shape less convex; few have any.
        if solidity < 0.995:
            hole = enclosed(mask)
            if hole >= _SMALLEST_HOLE:
                found.append(Suspect(HOLE, index, label, box, hole, f"{hole} px"))
            pieces = count_pieces(mask)
            if pieces > 1:
                found.append(Suspect(PIECES, index, label, box, pieces, f"{pieces} pieces"))
        straight = longest_side(mask, box, labels.shape)
        if straight:
            found.append(Suspect(STRAIGHT, index, label, box, straight, f"{straight} px"))
    return found


def longest_side(mask: np.ndarray, box: tuple[int, int, int, int], shape: tuple[int, int]) -> int:
    """Length of the longest straight side of a nucleus along the rows or columns, in pixels; 0 if there is none.

    A side counts if it is inside the image, the box is at least 12 pixels wide both ways, and the outermost row or
    column of the nucleus fills four fifths of the box: that of a disk of 12 pixels fills half.

    Parameters
    ----------
    mask : (h, w) ndarray of bool
        The nucleus in its bounding box.
    box : (int, int, int, int)
        First row and column of the box in the image, and the ones after the last.
    shape : (int, int)
        Of the image.
    """
    if min(mask.shape) < _SMALLEST_SIDE:
        return 0
    sides = (
        (mask[0], box[0] > 0),
        (mask[-1], box[2] < shape[0]),
        (mask[:, 0], box[1] > 0),
        (mask[:, -1], box[3] < shape[1]),
    )
    lengths = [int(np.count_nonzero(side)) for side, inside in sides if inside and side.mean() >= _STRAIGHT]
    return max(lengths, default=0)


def _without_label(index: int, own: dict[str, np.ndarray], labels: np.ndarray, pixels: np.ndarray) -> list[Suspect]:
    """Background that is as bright (or as dark) as nuclei and about as large as one."""
    if len(own["area"]) < _FEWEST:
        return []
    grey = cv2.GaussianBlur(mean_channel(pixels) * np.float32(_sign(own) / 255), (0, 0), 1)
    nuclei, background = np.median(grey[labels > 0]), np.median(grey[labels == 0])
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _HALO + 1, 2 * _HALO + 1))
    free = cv2.dilate((labels > 0).astype(np.uint8), disk) == 0
    typical = np.median(own["area"])
    _, blobs, statistics, _ = cv2.connectedComponentsWithStats(
        (free & (grey > nuclei)).astype(np.uint8), connectivity=8
    )
    found = []
    for number, (left, top, width, height, area) in enumerate(statistics.tolist()):
        # Debris, cells without a nucleus and shading are large or thin: a nucleus fills its box.
        if number and typical / 2 <= area <= 4 * typical and area >= 0.5 * width * height:
            mean = grey[top : top + height, left : left + width][
                blobs[top : top + height, left : left + width] == number
            ].mean()
            strength = float((mean - background) / max(nuclei - background, 1e-6))
            box = (top, left, top + height, left + width)
            found.append(Suspect(UNLABELLED, index, 0, box, strength * np.sqrt(area), f"{area} px"))
    return found


def _boxes(own: dict[str, np.ndarray]) -> list[tuple[int, int, int, int]]:
    corners = [own[f"bbox_{name}"].tolist() for name in ("min_y", "min_x", "max_y", "max_x")]
    return list(zip(*corners, strict=True))


def _sign(own: dict[str, np.ndarray]) -> float:
    """1 where the nuclei of an image are brighter than their surroundings, else -1."""
    return 1.0 if np.nanmedian(own["contrast"]) >= 0 else -1.0


def draw_suspects(survey: Survey, suspects: list[Suspect], columns: int = 6) -> Figure:
    """Show the worst suspects of each check, a row a check; the suspect is outlined in red, others in blue."""
    by_check = {check: [suspect for suspect in suspects if suspect.check == check] for check in CHECKS}
    by_check = {check: found for check, found in by_check.items() if found}
    figure, axes = frame(1.7 * columns, 1.95 * max(len(by_check), 1), max(len(by_check), 1), columns)
    for panel in axes.flat:
        panel.set_axis_off()
    for row, (check, found) in zip(axes, by_check.items(), strict=False):
        row_label(row[0], f"{check}\n({len(found):,})")
        for panel, suspect in zip(row, one_an_image(found)[:columns], strict=False):
            name = short(survey.collection.images.ids[suspect.image])
            picture(
                panel, closeup(survey, suspect), f"{name}\nx {suspect.box[1]}, y {suspect.box[0]}: {suspect.figure}"
            )
    return figure


def one_an_image(suspects: list[Suspect]) -> list[Suspect]:
    """The worst suspect of each image first, then the second of each, so that one bad image does not hide others."""
    seen: Counter[int] = Counter()
    turns = []
    for suspect in suspects:
        turns.append(seen[suspect.image])
        seen[suspect.image] += 1
    return [suspects[place] for place in sorted(range(len(suspects)), key=lambda place: turns[place])]


def closeup(survey: Survey, suspect: Suspect) -> np.ndarray:
    """Cut a square out around a suspect, with outlines, and enlarge it; (256, 256, 3) uint8."""
    pixels, labels = survey.collection.images.pixels(suspect.image), survey.collection.images.label_map(suspect.image)
    top, left, bottom, right = suspect.box
    side = min(max(int(1.8 * max(bottom - top, right - left)), 40), *labels.shape)
    rows, columns = (
        slice(start, start + side)
        for start in (
            min(max((low + high - side) // 2, 0), length - side)
            for low, high, length in ((top, bottom, labels.shape[0]), (left, right, labels.shape[1]))
        )
    )
    shown = labels[rows, columns].copy()
    if not suspect.label:
        box = np.zeros(labels.shape, np.int32)
        box[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = -1
        shown = np.where(shown > 0, shown, -box[rows, columns] * (labels.max() + 1))
    size = (256, 256)
    # Enlarged first, so that the lines are thin.
    large = cv2.resize(pixels[rows, columns], size, interpolation=cv2.INTER_LINEAR)
    large_labels = cv2.resize(shown.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int64)
    lines = outlines(large_labels, width=2)
    large[lines] = (86, 180, 233)
    large[lines & (large_labels == (suspect.label or labels.max() + 1))] = (213, 94, 0)
    return large


def draw_suspect_counts(survey: Survey, suspects: list[Suspect]) -> Figure:
    """Draw how many suspects each check found."""
    counts = Counter(suspect.check for suspect in suspects)
    rows = [(f"{check}: {MEANING[check]}", counts[check]) for check in CHECKS]
    rows.append(("overlap: masks that claim pixels of another", len(overlapping(survey))))
    figure, ((axes,),) = frame(10, 3.4)
    bars = axes.barh(range(len(rows)), [count for _, count in rows], color=[*[BLUE] * len(CHECKS), GREY])
    axes.bar_label(bars, [f" {count:,}" for _, count in rows], fontsize=9)
    plain(axes, "What looks wrong in the annotation", "Suspects")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    axes.invert_yaxis()
    whole_numbers(axes.xaxis)
    axes.set_xlim(0, 1.08 * max(1, *(count for _, count in rows)))
    axes.grid(visible=False, axis="y")
    return figure


def overlapping(survey: Survey) -> list[str]:
    """Ids of the images of masks that overlap, once for each such mask."""
    return [problem.sample_id for problem in survey.collection.problems if problem.what == OVERLAP]


def describe_suspects(survey: Survey, suspects: list[Suspect]) -> str:
    """Say how many nuclei are suspect, by which checks most, and where to look first."""
    marked = {(suspect.image, suspect.label) for suspect in suspects if suspect.label}
    unlabelled = sum(suspect.check == UNLABELLED for suspect in suspects)
    total = len(survey.nuclei["label"])
    if not suspects:
        return f"None of the {quantity(total, 'nucleus', 'nuclei')} looks wrong by any of the rules."
    counts = Counter(suspect.check for suspect in suspects if suspect.label).most_common(3)
    frequent = f" (most often: {listing([f'{check} {count:,}' for check, count in counts])})" if counts else ""
    image, worst = Counter(suspect.image for suspect in suspects).most_common(1)[0]
    images = len({suspect.image for suspect in suspects})
    return (
        f"{len(marked):,} of {quantity(total, 'nucleus', 'nuclei')} ({percent(len(marked) / max(total, 1))}) look "
        f"wrong by at least one rule{frequent}, {quantity(unlabelled, 'place')} might be a nucleus without a label and "
        f"{quantity(len(overlapping(survey)), 'mask overlaps', 'masks overlap')} another, in "
        f"{quantity(images, 'image')}; begin with {survey.collection.images.ids[image]}, which has {worst:,}."
    )


def describe_worst(survey: Survey, suspects: list[Suspect]) -> str:
    """Name the worst suspect of each check, and where it is."""
    worst: dict[str, Suspect] = {}
    for suspect in suspects:
        worst.setdefault(suspect.check, suspect)
    if not worst:
        return "There is no suspect to show."
    ids = survey.collection.images.ids
    places = [f"{check}: {ids[s.image]} at x {s.box[1]}, y {s.box[0]}" for check, s in worst.items()]
    return f"Look first at the worst of each sort ({'; '.join(places)})."

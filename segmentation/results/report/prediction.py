"""The page about a prediction: what was found, how large it is, what failed, and a picture of each image.

The part about an image is made and kept when that image is finished; the page puts all parts together.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from segmentation.batch.outputs import PageOutput, Prediction
from segmentation.batch.records import Record, natural_order
from segmentation.bundle import Bundle
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.prediction.trust import DOUBTFUL
from segmentation.prediction.views import AS_IT_IS
from segmentation.results.large_measurement import measure_areas
from segmentation.results.overlays import reduced_copy
from segmentation.results.report.charts import Chart, counted, histogram, number, quantile
from segmentation.results.report.links import link_files, link_tables
from segmentation.results.report.page import write_page
from segmentation.results.report.pictures import LABELS_SIDE, draw_picture
from segmentation.results.report.plates import Plates

if TYPE_CHECKING:
    from segmentation.large.result import LargePrediction

_VIEWS = (
    {"name": "image", "title": "Image"},
    {"name": "outlines", "title": "Outlines", "layer": "outlines"},
    {"name": "mask", "title": "Mask", "layer": "outlines", "fill": True},
)
_ORDERS = (
    {"key": "file", "title": "Name", "descending": False},
    {"key": "nuclei", "title": "Number of nuclei", "descending": True},
    {"key": "mean_area", "title": "Mean area", "descending": True},
)
_BY_VERDICT = {"key": "expected_ap50", "title": "Expected AP50, lowest first", "descending": False}
# So many images are shown; a page of more than some thousand pictures, of 12 kB each, is slow.
_FIRST, _SAMPLE = 1000, 1000
_NUCLEI, _IMAGES = ("nucleus", "nuclei"), ("image", "images")


def image_part(prediction: Prediction) -> dict:
    """Return what the page needs of one image, in JSON's types.

    These are ``picture``, from `draw_picture`; ``areas``, pairs of an area in pixels and how many nuclei have it; and
    ``pixel_area_um2``.
    """
    areas = np.bincount(prediction.labels.ravel())[1:]
    picture = draw_picture(prediction.image.pixels, prediction.labels, doubtful=_doubtful(prediction.scores))
    return _part(picture, areas, prediction.image.pixel_size_um)


def large_image_part(prediction: "LargePrediction") -> dict:
    """Return the same as `image_part` for an image that was predicted by blocks."""
    pixels, labels, numbers = reduced_copy(prediction, LABELS_SIDE)
    shown = None if prediction.scores is None else prediction.scores[numbers[1:] - 1]
    picture = draw_picture(pixels, labels, prediction.image.shape, _doubtful(shown))
    return _part(picture, measure_areas(prediction), prediction.image.pixel_size_um)


def _doubtful(scores: np.ndarray | None) -> list[int]:
    """Return the labels of doubtful nuclei, from the scores of labels 1..n."""
    return [] if scores is None else (np.flatnonzero(scores < DOUBTFUL) + 1).tolist()


_PART = {
    "picture": {
        "width": int,
        "height": int,
        "image": str,
        "outlines": {"width": float, "height": float, "paths": [str]},
    },
    "areas": [[int, int]],
    "pixel_area_um2": (float, None),
}


def _part(picture: dict, areas: np.ndarray, size: PixelSize | None) -> dict:
    pairs = np.stack(np.unique(areas[areas > 0], return_counts=True), axis=1)
    return {"picture": picture, "areas": pairs.tolist(), "pixel_area_um2": size and size.area}


def write_prediction_page(
    file: Path, summaries: Sequence[dict], images: Iterable[tuple[Record, dict]], count: int, *, bundle: Bundle
) -> None:
    """Write the page, whole or not at all, into the folder of the results, which it links to.

    `summaries` are the contents of ``summary.json``, or those of all shards that have ended; `images` each finished
    image and its `image_part`; `count` the number of images, those that failed or are not done yet included. Figures
    and charts are about all images. Of more than `_FIRST` + `_SAMPLE`, it shows the first and an even sample of the
    others.
    """
    found = _Found(count)
    failures = [failure for summary in summaries for failure in summary["failures"]]
    finished = found.add(images, {(failure["name"], failure["file"]) for failure in failures})
    failures = [failure for failure in failures if (failure["name"], failure["file"]) not in finished]
    unit, areas = found.areas()
    figures = [("Images", f"{found.images:,}"), ("Nuclei", f"{found.nuclei:,}")]
    if found.nuclei:
        figures.append(("Median area", f"{number(quantile(*areas, 0.5))} {unit}"))
    figures.append(("Failed", f"{len(failures):,}"))
    done, skipped = _done_and_skipped(summaries)
    if done:
        figures.append(("Time of the last call" if skipped else "Time", _time(summaries)))
    if waiting := count - found.images - len(failures):
        figures.append(("Not done yet", f"{waiting:,}"))
    means = [_mean_area(part, found.in_um) for _, part in found.shown]
    names = _shown_names([record.input for record, _ in found.shown])
    pictures: list[dict] = [
        {
            "file": name,
            "path": record.input,
            "nuclei": record.nuclei,
            "mean_area": mean,
            "expected_ap50": (record.verdict or {}).get("ap50"),
            "facts": ", ".join(_facts(record, mean, unit)),
            "links": link_files(record.files),
            "picture": part["picture"],
        }
        for (record, part), name, mean in zip(found.shown, names, means, strict=True)
    ]
    pictures.sort(key=lambda picture: natural_order(picture["file"]))
    hint = "Press a picture to change only that one. Neighbours have different colours."
    judged = any(record.verdict for record, _ in found.shown)
    if judged:
        hint += f" Doubtful nuclei, with a score below {DOUBTFUL:g}, are yellow and dashed."
    if len(pictures) < found.images:
        hint = (
            f"Shown are {len(pictures):,} of {found.images:,} images: the first {_FIRST:,}, and of the others one in "
            f"{found.step:,}. The figures and charts above are about all of them. {hint}"
        )
    write_page(
        file,
        "prediction.html.j2",
        heading=f"Nuclei in {counted(found.images, *_IMAGES)}",
        subheading=f"Found by the model {bundle.folder.resolve().name}, {datetime.now():%d %B %Y, %H:%M}",
        figures=figures,
        tables=link_tables(file.parent),
        failures=failures,
        plates=found.plates.maps(),
        has_more_plates=found.plates.has_more,
        charts=_charts(unit, areas, found.nuclei_per_image),
        gallery={
            "views": _VIEWS,
            "view": "outlines",
            "orders": (_BY_VERDICT, *_ORDERS) if judged else _ORDERS,
            "images": pictures,
            "hint": hint,
        },
        settings=_settings(bundle, summaries),
    )


def _facts(record: Record, mean_area: float | None, unit: str) -> list[str]:
    """Return what the page says below a picture."""
    facts = [counted(record.nuclei, *_NUCLEI)]
    if mean_area is not None:
        facts.append(f"mean area {number(mean_area)} {unit}")
    verdict = record.verdict or {"ap50": None, "unlike": "", "view": AS_IT_IS.name}
    if verdict["ap50"] is not None:
        facts.append(f"expected Dice {verdict['dice']:.2f}, AP50 {verdict['ap50']:.2f}")
    if verdict["unlike"]:
        facts.append(verdict["unlike"][0].lower() + verdict["unlike"][1:].rstrip("."))
    if verdict["view"] != AS_IT_IS.name:
        facts.append(f"seen {verdict['view']}")
    return facts


class _Found:
    """What the page says of all images, of which only those that are `shown` stay in memory."""

    def __init__(self, count: int) -> None:
        self.step = max(1, -(-(count - _FIRST) // _SAMPLE))
        self.images = 0
        self.shown: list[tuple[Record, dict]] = []
        self.nuclei_per_image: Counter[int] = Counter()
        self.in_um = False
        self.plates = Plates()
        self._areas: Counter[tuple[float, float | None]] = Counter()  # by area in pixels and that of a pixel

    def add(self, images: Iterable[tuple[Record, dict]], failed: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Count images; return which of those that `failed`, pairs of name and file, are among them."""
        finished = set()
        for record, part in images:
            if self.images < _FIRST or (self.images - _FIRST) % self.step == 0:
                self.shown.append((record, part))
            self.images += 1
            self.plates.add(record)
            self.nuclei_per_image[record.nuclei] += 1
            pixel = part["pixel_area_um2"]
            self.in_um = pixel is not None and (self.in_um or self.images == 1)
            for area, times in part["areas"]:
                if area and times:
                    self._areas[area, pixel] += times
            if (record.name, record.input) in failed:
                finished.add((record.name, record.input))
        return finished

    @property
    def nuclei(self) -> int:
        """The number of nuclei in all images."""
        return sum(nuclei * images for nuclei, images in self.nuclei_per_image.items())

    def areas(self) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
        """Return the unit, the areas of all nuclei, and how often each occurs."""
        values = [area * (pixel if self.in_um and pixel else 1) for area, pixel in self._areas]
        return "µm²" if self.in_um else "px²", (np.array(values, float), np.array([*self._areas.values()], np.int64))


def _mean_area(part: dict, in_um: bool) -> float | None:
    area, times = np.array([pair for pair in part["areas"] if all(pair)], float).reshape(-1, 2).T
    return float(area @ times / times.sum()) * (part["pixel_area_um2"] if in_um else 1) if len(area) else None


def _charts(unit: str, areas: tuple[np.ndarray, np.ndarray], nuclei_per_image: Mapping[int, int]) -> list[Chart]:
    charts = []
    if len(areas[0]):
        charts.append(histogram("Area of the nuclei", f"Area ({unit})", "Nuclei", _NUCLEI, *areas, f" {unit}"))
    if nuclei_per_image:
        nuclei, images = np.array([*nuclei_per_image.items()], np.int64).T
        charts.append(histogram("Nuclei per image", "Nuclei in an image", "Images", _IMAGES, nuclei, images))
    return charts


def _shown_names(paths: Sequence[str]) -> list[str]:
    """Return the paths without the folders that all have in common, or the file alone if its folder has its name."""
    parts = [PurePath(os.path.abspath(path)).parts for path in paths]
    common = len(os.path.commonprefix([own[:-1] for own in parts]))
    return [own[-1] if PurePath(own[-1]).stem in own[common:-1] else "/".join(own[common:]) for own in parts]


def _settings(bundle: Bundle, summaries: Sequence[dict]) -> list[tuple[str, str]]:
    settings, training = summaries[0]["settings"], bundle.training
    trained = f", trained on {training['data']}" if "data" in training else ""
    rows = [("Model", f"{bundle.folder.resolve().name}{trained} (digest {bundle.digest[:12]})")]
    if figures := bundle.scores.get("figures"):
        dice = figures["dice"]
        interval = f" ({dice['low']:.3f} to {dice['high']:.3f})" if "low" in dice else ""
        rows.append(("Dice coefficient on its validation images", f"{dice['value']:.3f}{interval}"))
    rows.append(("Engine", f"{settings['engine']}, {settings['precision']}"))
    rows += [(f"Threshold of the {name}", f"{value:g}") for name, value in settings["thresholds"].items()]
    rows.append(("Smallest nucleus", f"{settings['min_area']} px²"))
    diameter = settings["diameter"]
    said = {"auto": "found for each image", None: "taken to be what the model knows"}
    rows.append(("Diameter of the nuclei", said[diameter] if diameter in said else f"{diameter:g} px"))
    if settings.get("min_score") is not None:
        rows.append(("Least score of a nucleus", f"{settings['min_score']:g}"))
    if settings["pixel_size_um"] is not None:
        rows.append(("Side of a pixel", f"{settings['pixel_size_um']:g} µm"))
    if settings["channel"] is not None:
        rows.append(("Channel", settings["channel"]))
    if settings["tta"]:
        rows.append(("Averaged over", "eight turns and flips"))
    done, skipped = _done_and_skipped(summaries)
    shards = f", {len(summaries)} shards together" if len(summaries) > 1 else ""
    earlier = f"; {counted(skipped, *_IMAGES)} done before" if skipped else ""
    rows.append(("Work of the last call", f"{counted(done, *_IMAGES)} in {_time(summaries)}{shards}{earlier}"))
    rows.append(("Software", ", ".join(f"{name} {version}" for name, version in summaries[0]["libraries"].items())))
    return rows


def _done_and_skipped(summaries: Sequence[dict]) -> tuple[int, int]:
    return tuple(sum(summary["images"][status] for summary in summaries) for status in ("done", "skipped"))


def _time(summaries: Sequence[dict]) -> str:
    seconds = sum(summary["seconds"]["total"] for summary in summaries)
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


# `segmentation.results.formats.open_outputs` binds the bundle.
OUTPUT = PageOutput("report.html", image_part, large_image_part, write_prediction_page, _PART)

"""The page about a prediction: what was found, how large it is, what failed, and a picture of each image.

What the page tells of an image is made when the image is done, and kept; the page puts all of it together.
"""

import os
from datetime import datetime
from pathlib import PurePath
from urllib.parse import quote

import numpy as np

from segmentation.batch.outputs import PageOutput
from segmentation.results.overview import reduced_copy
from segmentation.results.report.charts import histogram, number, quantile
from segmentation.results.report.page import write_page
from segmentation.results.report.pictures import LABELS_SIDE, draw_picture

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
# What links to an image's files are called, by the name of the output.
_FILES = {
    "overlays": "Overlay",
    "masks": "Mask",
    "labels": "Label map",
    "rois": "ImageJ ROIs",
    "geojson": "GeoJSON",
    "probabilities": "Probabilities",
}


def image_part(prediction):
    """What the page tells of one image, in JSON's types.

    Parameters
    ----------
    prediction : segmentation.batch.outputs.Prediction

    Returns
    -------
    dict
        ``picture``: see `segmentation.results.report.pictures.draw_picture`. ``areas``: each area in pixels that
        occurs among the nuclei, and how often. ``pixel_size_um``.
    """
    areas = np.bincount(prediction.labels.ravel())[1:]
    image = prediction.image
    return _part(draw_picture(image.pixels, prediction.labels), areas, image.pixel_size_um)


def large_image_part(prediction):
    """The same as `image_part` for a picture that was done by blocks.

    Parameters
    ----------
    prediction : segmentation.large.predict.LargePrediction
    """
    areas = np.zeros(prediction.nuclei + 1, np.int64)
    for band in prediction.bands():
        areas += np.bincount(band.ravel(), minlength=len(areas))
    pixels, labels = reduced_copy(prediction, LABELS_SIDE)
    picture = draw_picture(pixels, labels, prediction.image.shape)
    return _part(picture, areas[1:], prediction.image.pixel_size_um)


def _part(picture, areas, pixel_size_um):
    values, counts = np.unique(areas[areas > 0], return_counts=True)
    areas = np.stack([values, counts], axis=1).tolist()
    return {"picture": picture, "areas": areas, "pixel_size_um": pixel_size_um}


def write_prediction_page(file, summaries, images, count, *, bundle):
    """Write the page.

    Parameters
    ----------
    file : Path
        In the folder of the results, which it links to.
    summaries : sequence of dict
        What stands in ``summary.json``, or in those of all shards that have ended.
    images : sequence of (Record, dict)
        Each finished image, and what `image_part` gave for it.
    count : int
        How many images the call named.
    bundle : segmentation.bundle.Bundle
        The model.
    """
    unit, areas, means = _areas([part for _, part in images])
    shown = _shown_names([record.input for record, _ in images])
    entries = [
        {
            "file": name,
            "path": record.input,
            "nuclei": record.nuclei,
            "mean_area": mean,
            "facts": _facts(record.nuclei, mean, unit),
            "links": _links(record.files),
            "picture": part["picture"],
        }
        for (record, part), name, mean in zip(images, shown, means, strict=True)
    ]
    finished = {record.input for record, _ in images}
    failures = [failure for summary in summaries for failure in summary["failures"] if failure["file"] not in finished]
    nuclei = sum(record.nuclei for record, _ in images)
    waiting = count - len(images) - len(failures)
    figures = [("Images", f"{len(images):,}"), ("Nuclei", f"{nuclei:,}")]
    if nuclei:
        figures.append(("Median area", f"{number(quantile(*areas, 0.5))} {unit}"))
    figures.append(("Failed", f"{len(failures):,}"))
    done, skipped = (sum(summary["images"][status] for summary in summaries) for status in ("done", "skipped"))
    if done:
        figures.append(("Time of the last call" if skipped else "Time", _time(summaries)))
    if waiting:
        figures.append(("Not done yet", f"{waiting:,}"))
    write_page(
        file,
        "prediction.html.j2",
        heading=f"Nuclei in {_counted(len(images), 'image', 'images')}",
        subheading=f"Found by the model {bundle.folder.resolve().name}, {datetime.now():%d %B %Y, %H:%M}",
        figures=figures,
        failures=failures,
        charts=_charts(unit, areas, [record.nuclei for record, _ in images]),
        gallery={
            "views": _VIEWS,
            "view": "outlines",
            "orders": _ORDERS,
            "images": entries,
            "hint": "Press a picture to change only that one. Neighbours have different colours.",
        },
        settings=_settings(bundle, summaries),
    )


def _areas(parts):
    """The unit, all areas with how often each occurs, and the mean area of each image, None without nuclei."""
    in_um = bool(parts) and all(part["pixel_size_um"] is not None for part in parts)
    all_values, all_counts, means = [np.zeros(0)], [np.zeros(0, np.int64)], []
    for part in parts:
        values, counts = np.array(part["areas"], float).reshape(-1, 2).T
        if in_um:
            values = values * part["pixel_size_um"] ** 2
        all_values.append(values)
        all_counts.append(counts.astype(np.int64))
        means.append(float(values @ counts / counts.sum()) if len(values) else None)
    values, counts = np.concatenate(all_values), np.concatenate(all_counts)
    order = np.argsort(values, kind="stable")
    return "µm²" if in_um else "px²", (values[order], counts[order]), means


def _charts(unit, areas, nuclei_per_image):
    charts = []
    if len(areas[0]):
        charts.append(
            histogram("Area of the nuclei", f"Area ({unit})", "Nuclei", "nuclei", "measure", *areas, unit=f" {unit}")
        )
    if nuclei_per_image:
        charts.append(histogram("Nuclei per image", "Nuclei in an image", "Images", "images", "hold", nuclei_per_image))
    return charts


def _facts(nuclei, mean, unit):
    return _counted(nuclei, "nucleus", "nuclei") + ("" if mean is None else f", mean area {number(mean)} {unit}")


def _links(files):
    """Name and address of what was written of an image, as seen from the page."""
    links = []
    for output, title in _FILES.items():
        paths = list(files.get(output, ()))
        if paths:
            # Of a store of many files, the folder that holds them all.
            path = paths[0] if len(paths) == 1 else os.path.commonpath(paths)
            links.append((title, quote(os.fsencode(path))))
    return links


def _shown_names(paths):
    """The paths from the folder on that all have in common; a folder named like its image (the Bowl's) adds nothing."""
    parts = [PurePath(os.path.abspath(path)).parts for path in paths]
    common = len(os.path.commonprefix([own[:-1] for own in parts]))
    return [own[-1] if PurePath(own[-1]).stem in own[common:-1] else "/".join(own[common:]) for own in parts]


def _settings(bundle, summaries):
    settings, training = summaries[0]["settings"], bundle.training
    trained = f", trained on {training['data']}" if "data" in training else ""
    rows = [("Model", f"{bundle.folder.resolve().name}{trained} (digest {bundle.digest[:12]})")]
    if figures := bundle.scores.get("figures"):
        dice = "{value:.3f} ({low:.3f} to {high:.3f})".format(**figures["dice"])
        rows.append(("Dice coefficient on its validation images", dice))
    rows.append(("Engine", f"{settings['engine']}, {settings['precision']}"))
    rows += [(f"Threshold of the {name}", f"{value:g}") for name, value in settings["thresholds"].items()]
    rows.append(("Smallest nucleus", f"{settings['min_area']} px²"))
    diameter = settings["diameter"]
    said = {"auto": "found for each image", None: "taken to be what the model knows"}
    rows.append(("Diameter of the nuclei", said[diameter] if diameter in said else f"{diameter:g} px"))
    if settings["pixel_size_um"] is not None:
        rows.append(("Side of a pixel", f"{settings['pixel_size_um']:g} µm"))
    if settings["channel"] is not None:
        rows.append(("Channel", settings["channel"]))
    if settings["tta"]:
        rows.append(("Averaged over", "eight turns and flips"))
    rows.append(("Work of the last call", _work(summaries)))
    rows.append(("Software", ", ".join(f"{name} {version}" for name, version in summaries[0]["libraries"].items())))
    return rows


def _time(summaries):
    seconds = sum(summary["seconds"]["total"] for summary in summaries)
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _work(summaries):
    done, skipped = (sum(summary["images"][status] for summary in summaries) for status in ("done", "skipped"))
    text = f"{_counted(done, 'image', 'images')} in {_time(summaries)}"
    if len(summaries) > 1:
        text += f", {len(summaries)} shards together"
    return text + (f"; {skipped:,} were done before" if skipped else "")


def _counted(count, one, many):
    return f"{count:,} {one if count == 1 else many}"


# `segmentation.results.formats.open_outputs` binds the bundle.
OUTPUT = PageOutput("report.html", image_part, large_image_part, write_prediction_page)

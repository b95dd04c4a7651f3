"""Measure every image and every nucleus of a collection once; all plots and sentences are made of these two tables."""

from dataclasses import dataclass

import numpy as np

from segmentation.data.masks import count_pieces
from segmentation.exploration.collection import Collection
from segmentation.exploration.measures import extreme_channels, local_contrast, mean_channel, touching
from segmentation.results.measurement import measure_nuclei


@dataclass(frozen=True)
class Survey:
    """The figures of a collection.

    Attributes
    ----------
    collection : Collection
    images : dict of str to (N, ...) ndarray
        Columns with a row an image, in the order of the collection:

        ==========================  ====================================================================================
        `kind`                      "fluorescence", "stained" or "smear"
        `height`, `width`           in pixels
        `nuclei`                    how many
        `objects`                   connected components of the foreground (8 neighbours): what a plain mask tells apart
        `foreground`                share of the pixels that belong to nuclei, 0 to 1
        `diameter`                  median over the nuclei that the edge does not cut, in pixels; NaN without any
        `background`, `brightness`  median intensity of background and nuclei in the file, mean of the channels, as a
                                    share of the largest value that its integers can have (of the largest in the image
                                    for floats); NaN without any
        `background_colour`,        (N, 3), mean red, green and blue of background and nuclei, likewise
        `nuclei_colour`
        `level`                     median of the normalised image's brightness (largest channel), 0 to 1: near 0 for
                                    nuclei on dark, near 1 for nuclei on light
        `chroma`                    mean of largest minus smallest channel over mean of the largest, of the normalised
                                    image: 0 is grey
        ==========================  ====================================================================================
    nuclei : dict of str to (M,) ndarray
        Columns with a row a nucleus, images in order, labels ascending: `image` (its index), `diameter` of the disk
        with the area of the nucleus, in pixels, `touching` another nucleus, `contrast` to its surroundings in the
        normalised image (-1 to 1, see `local_contrast`), and those of `segmentation.results.measurement.measure_nuclei`
        without intensities.
    """

    collection: Collection
    images: dict[str, np.ndarray]
    nuclei: dict[str, np.ndarray]

    @property
    def kinds(self) -> list[str]:
        """The kinds of image that there are, the most frequent first."""
        kinds, counts = np.unique(self.images["kind"], return_counts=True)
        return [str(kind) for kind in kinds[np.argsort(-counts, kind="stable")]]


def survey(collection: Collection) -> Survey:
    """Measure a collection; every image is read once more, for intensities as they are in its file."""
    image_rows, nuclei_tables = [], []
    for index, sample in enumerate(collection.samples):
        normalised, labels = collection.images.pixels(index), collection.images.label_map(index)
        nuclei = _measure_nuclei(labels, normalised)
        nuclei["image"] = np.full(len(nuclei["label"]), index)
        nuclei_tables.append(nuclei)
        image_rows.append(_measure_image(labels, normalised, nuclei, sample.read_image().pixels))
    images = {name: np.array([row[name] for row in image_rows]) for name in image_rows[0]}
    images["kind"] = np.array(collection.images.kinds)
    nuclei = {name: np.concatenate([table[name] for table in nuclei_tables]) for name in nuclei_tables[0]}
    return Survey(collection, images, nuclei)


def _measure_nuclei(labels: np.ndarray, normalised: np.ndarray) -> dict[str, np.ndarray]:
    brightness = mean_channel(normalised) / 255
    table = measure_nuclei(labels, brightness[..., None], ("grey",))
    del table["mean_intensity_grey"]
    table["diameter"] = 2 * np.sqrt(table["area"] / np.pi)
    table["touching"] = touching(labels)
    table["contrast"] = local_contrast(labels, brightness)
    return table


def _measure_image(
    labels: np.ndarray, normalised: np.ndarray, nuclei: dict[str, np.ndarray], pixels: np.ndarray
) -> dict:
    foreground = labels > 0
    scale = full_scale(pixels)
    grey = mean_channel(pixels) / scale
    whole = nuclei["diameter"][~nuclei["touches_edge"]]
    least, largest = extreme_channels(normalised)
    return {
        "height": labels.shape[0],
        "width": labels.shape[1],
        "nuclei": len(nuclei["label"]),
        "objects": count_pieces(foreground),
        "foreground": foreground.mean(),
        "diameter": _median(whole),
        "background": _median(grey[~foreground]),
        "brightness": _median(grey[foreground]),
        "background_colour": _colour(pixels, ~foreground) / scale,
        "nuclei_colour": _colour(pixels, foreground) / scale,
        "level": np.median(largest) / 255,
        "chroma": (largest - least).mean() / max(largest.mean(), 1e-12),
    }


def full_scale(pixels: np.ndarray) -> float:
    """The largest value that an image's integers can have; of floats the largest that they do have."""
    if pixels.dtype.kind == "f":
        return max(float(pixels.max()), 1e-12)
    return float(np.iinfo(pixels.dtype).max)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else np.nan


def _colour(pixels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean colour of the pixels that are chosen, (3,); NaN if none are."""
    if not chosen.any():
        return np.full(3, np.nan)
    return np.broadcast_to([channel[chosen].mean() for channel in np.moveaxis(pixels, -1, 0)], 3)

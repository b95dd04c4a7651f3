"""What augmentation does: crops of one image of each kind, and how far it stretches the data."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.images import typical
from segmentation.exploration.measures import fullest_window, touches_edge
from segmentation.exploration.style import frame, picture, row_label
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity
from segmentation.results.overlays import outlines
from segmentation.training.augmentation import Augmentation
from segmentation.training.config import TrainingConfig
from segmentation.training.sampling import draw_probabilities

_OUTLINE = (240, 228, 66)  # yellow, seen on dark and on purple


def draw_augmentation(survey: Survey, columns: int = 6, seed: int = 0) -> Figure:
    """Show an image of each kind as it is and as training sees it, with the outlines that went along."""
    images, kinds = survey.collection.images, survey.kinds
    crop_size = TrainingConfig().crop_size
    augmentation = Augmentation(crop_size, empty=0)
    figure, axes = frame(1.75 * (columns + 1), 1.9 * len(kinds), len(kinds), columns + 1)
    for row, kind in zip(axes, kinds, strict=True):
        index = typical(survey, kind)
        pixels, labels = images.pixels(index), images.label_map(index)
        # Crops are drawn from everywhere in an image; here from where there is something to see.
        around = fullest_window(labels > 0, 3 * crop_size // 2)
        pixels, labels = pixels[around], labels[around]
        shown = fullest_window(labels > 0, crop_size)
        picture(row[0], with_outlines(pixels[shown], labels[shown]), "as it is")
        row_label(row[0], kind)
        for place, panel in enumerate(row[1:]):
            crop = augmentation(pixels, labels, np.random.default_rng([seed, index, place]))
            picture(panel, with_outlines(*crop), f"crop {place + 1}")
    return figure


def with_outlines(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw yellow outlines of the nuclei on an (H, W, 3) uint8 picture."""
    drawn = pixels.copy()
    drawn[outlines(labels)] = _OUTLINE
    return drawn


def measure_crops(survey: Survey, crops: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw crops as training does and measure them.

    Returns
    -------
    dict of str to ndarray
        `diameter`: of every nucleus that no edge of a crop cuts, in pixels. `brightness`: mean of each crop, 0 to 1.
        `nuclei`: number in each crop.
    """
    rng = np.random.default_rng(seed)
    train, images = survey.collection.indices("train"), survey.collection.images
    probabilities = draw_probabilities([images.kinds[i] for i in train], [images.areas[i] for i in train])
    augmentation = Augmentation(TrainingConfig().crop_size)
    diameters, brightness, nuclei = [], [], []
    for index in rng.choice(train, crops, p=probabilities):
        pixels, labels = augmentation(images.pixels(index), images.label_map(index), rng)
        areas = np.bincount(labels.ravel())[1:]
        whole = (areas > 0) & ~touches_edge(labels)
        diameters.append(2 * np.sqrt(areas[whole] / np.pi))
        brightness.append(pixels.mean() / 255)
        nuclei.append(np.count_nonzero(areas))
    return {"diameter": np.concatenate(diameters), "brightness": np.array(brightness), "nuclei": np.array(nuclei)}


def describe_augmentation(survey: Survey, crops: int = 200) -> str:
    """Say what a number of augmented crops hold, beside the images that they are made of."""
    measured = measure_crops(survey, crops)
    empty = (measured["nuclei"] == 0).mean()
    original = [survey.collection.images.pixels(index).mean() / 255 for index in survey.collection.indices("train")]
    low, high = np.percentile(original, (5, 95))
    new_low, new_high = np.percentile(measured["brightness"], (5, 95))
    sizes = ""
    if measured["diameter"].size:
        nuclei = survey.nuclei
        chosen = np.isin(nuclei["image"], survey.collection.indices("train")) & ~nuclei["touches_edge"]
        before, after = (np.percentile(d, (5, 95)) for d in (nuclei["diameter"][chosen], measured["diameter"]))
        sizes = (
            f"whole nuclei measure {after[0]:.0f} to {after[1]:.0f} pixels where those of the training images measure "
            f"{before[0]:.0f} to {before[1]:.0f} (5th to 95th percentile), "
        )
    return (
        f"In {quantity(crops, 'augmented crop')} {sizes}the mean brightness spans {new_low:.2f} to {new_high:.2f} "
        f"where that of the images spans {low:.2f} to {high:.2f}, and {percent(empty)} of the crops hold no nucleus, "
        "so that the network learns to find none; the outlines go along with every distortion."
    )

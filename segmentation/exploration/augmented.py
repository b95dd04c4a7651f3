"""What augmentation does: crops of one image of each kind, and how far it stretches the data."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from skimage.segmentation import clear_border

from segmentation.exploration.images import typical
from segmentation.exploration.measures import fullest_window
from segmentation.exploration.style import frame, picture, row_label
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity
from segmentation.results.overlays import outlines
from segmentation.training.augmentation import Augmentation
from segmentation.training.config import TrainingConfig
from segmentation.training.sampling import draw_probabilities

_OUTLINE = (240, 228, 66)  # yellow, seen on dark and on purple


def draw(survey: Survey, columns: int = 6, seed: int = 0) -> Figure:
    """Show an image of each kind as it is and as training sees it, with the outlines that went along."""
    crop_size = TrainingConfig().crop_size
    augmentation = Augmentation(crop_size, empty=0)
    figure, axes = frame(1.75 * (columns + 1), 1.9 * len(survey.kinds), len(survey.kinds), columns + 1)
    for panels, kind in zip(axes, survey.kinds, strict=True):
        row = typical(survey, kind)
        pixels, labels = survey.cached.pixels(row), survey.cached.label_map(row)
        # Crops are drawn from everywhere in an image; here from where there is something to see.
        around = fullest_window(labels > 0, 3 * crop_size // 2)
        pixels, labels = pixels[around], labels[around]
        shown = fullest_window(labels > 0, crop_size)
        picture(panels[0], with_outlines(pixels[shown], labels[shown]), "as it is")
        row_label(panels[0], kind)
        for place, panel in enumerate(panels[1:]):
            crop = augmentation(pixels, labels, np.random.default_rng([seed, row, place]))
            picture(panel, with_outlines(*crop), f"crop {place + 1}")
    return figure


def with_outlines(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw yellow outlines of the nuclei on a copy of an (H, W, 3) uint8 picture."""
    drawn = pixels.copy()
    drawn[outlines(labels)] = _OUTLINE
    return drawn


def measure_crops(survey: Survey, crops: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw crops as training does and measure them.

    Returns the mean `brightness` of each crop, 0 to 1, and its number of `nuclei`; and the diameters in pixels of all
    nuclei that no edge of a crop cuts, (n,) float.
    """
    rng = np.random.default_rng(seed)
    train = survey.images.loc[survey.rows("train")]
    probabilities = draw_probabilities(train["kind"].tolist(), (train["height"] * train["width"]).tolist())
    augmentation = Augmentation(TrainingConfig().crop_size)
    measured, areas = [], []
    for row in rng.choice(train.index, crops, p=probabilities):
        pixels, labels = augmentation(survey.cached.pixels(row), survey.cached.label_map(row), rng)
        measured.append({"brightness": pixels.mean() / 255, "nuclei": np.count_nonzero(np.bincount(labels.flat)[1:])})
        areas.append(np.bincount(clear_border(labels).flat)[1:])
    whole = np.concatenate(areas)
    return pd.DataFrame(measured), 2 * np.sqrt(whole[whole > 0] / np.pi)


def describe(survey: Survey, crops: int = 200) -> str:
    """Say what a number of augmented crops hold, beside the images that they are made of."""
    measured, diameters = measure_crops(survey, crops)
    train = survey.rows("train")
    low, high = np.percentile([survey.cached.pixels(row).mean() / 255 for row in train], (5, 95))
    new_low, new_high = measured["brightness"].quantile([0.05, 0.95])
    sizes = ""
    if diameters.size:
        whole = survey.nuclei[survey.nuclei["image"].isin(train) & ~survey.nuclei["touches_edge"]]
        before, after = whole["diameter"].quantile([0.05, 0.95]).to_list(), np.percentile(diameters, (5, 95))
        sizes = (
            f"whole nuclei measure {after[0]:.0f} to {after[1]:.0f} pixels where those of the training images measure "
            f"{before[0]:.0f} to {before[1]:.0f} (5th to 95th percentile), "
        )
    return (
        f"In {quantity(crops, 'augmented crop')} {sizes}the mean brightness spans {new_low:.2f} to {new_high:.2f} "
        f"where that of the images spans {low:.2f} to {high:.2f}, and {percent((measured['nuclei'] == 0).mean())} of "
        "the crops hold no nucleus, so that the network learns to find none; the outlines go along with every "
        "distortion."
    )

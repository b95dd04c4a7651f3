"""What augmentation does: crops of one image of each kind, and how many nuclei crops hold."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.exploration.images import typical
from segmentation.exploration.measures import fullest_window
from segmentation.exploration.style import frame, picture, row_label
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity
from segmentation.results.overlays import outlines
from segmentation.training.augmentation import Augmentation
from segmentation.training.config import TrainingConfig
from segmentation.training.sampling import draw_probabilities

_OUTLINE = np.array((240, 228, 66), np.uint8)  # yellow, seen on dark and on purple


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
        crops = [augmentation(pixels, labels, np.random.default_rng([seed, row, place])) for place in range(columns)]
        row_label(panels[0], kind)
        for place, (panel, (crop, own)) in enumerate(
            zip(panels, [(pixels[shown], labels[shown]), *crops], strict=True)
        ):
            picture(
                panel,
                np.where(outlines(own)[..., None], _OUTLINE, crop),
                f"crop {place}" if place else "as it is",
            )
    return figure


def count_nuclei(survey: Survey, crops: int, seed: int = 0) -> np.ndarray:
    """Draw crops as training does and return the number of nuclei in each."""
    rng = np.random.default_rng(seed)
    train = survey.images.loc[survey.rows("train")]
    probabilities = draw_probabilities(train["kind"].tolist(), (train["height"] * train["width"]).tolist())
    augmentation, cached = Augmentation(TrainingConfig().crop_size), survey.cached
    rows = rng.choice(train.index, crops, p=probabilities)
    labels = (augmentation(cached.pixels(row), cached.label_map(row), rng)[1] for row in rows)
    return np.array([np.count_nonzero(np.bincount(own.flat)[1:]) for own in labels])


def describe(survey: Survey, crops: int = 200) -> str:
    """Say how many nuclei augmented crops hold."""
    counts = count_nuclei(survey, crops)
    return (
        f"{quantity(crops, 'augmented crop')} hold {counts.min()} to {counts.max()} nuclei (median "
        f"{np.median(counts):.0f}) and {percent((counts == 0).mean())} of them none, so that the network learns to "
        "find none; the outlines go along with every distortion."
    )

"""Which images show one field, or nearly the same, and whether the split keeps them together."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import hypergeom

from segmentation.data.groups import MIN_CORRELATION
from segmentation.data.splits import FRACTIONS
from segmentation.exploration.images import window
from segmentation.exploration.style import bars_by_kind, frame, histogram_by_kind, legend, picture, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity, short


def draw(survey: Survey) -> Figure:
    """Draw how many images share a field with how many others, and how alike the images of test and train are."""
    figure, ((left, right),) = frame(10, 3.8, 1, 2)
    table = pd.crosstab(field_sizes(survey), survey.images["kind"])
    plain(left, "Images that show one field", "Images of the same field, itself included", "Images")
    bars_by_kind(left, table, [f"{size}" for size in table.index])
    left.set_xlim(-1, max(len(table), 3))
    legend(left)

    nearest = nearest_in_training(survey)
    if len(nearest):
        histogram_by_kind(right, nearest["r"], survey.images["kind"][nearest.index], np.arange(-0.1, 1.025, 0.05))
        right.axvline(MIN_CORRELATION, color="black", linestyle="--", linewidth=1)
        right.text(MIN_CORRELATION - 0.01, 0.98, "near-duplicate", rotation=90, ha="right", va="top", fontsize=8,
                   transform=right.get_xaxis_transform())  # fmt: skip
    label = "Correlation with the most alike training image\n(32 × 32 thumbnails)"
    plain(right, "Likeness to the training images", label, "Test images")
    return figure


def field_sizes(survey: Survey) -> pd.Series:
    """Return the number of images of the field of each image, itself included."""
    return survey.images.groupby("field")["id"].transform("size")


def divided_fields(survey: Survey) -> list[list[str]]:
    """Return the ids of the images of each field that is in several subsets."""
    fields = survey.images.groupby("field", sort=False)
    return [own["id"].tolist() for _, own in fields if own["subset"].nunique() > 1]


def chance_of_sibling(sizes: np.ndarray, share: float = FRACTIONS[0]) -> float:
    """Return the mean chance that an image which a random split leaves out of train has a sibling in train.

    `sizes`, (N,) int, are those of `field_sizes`; `share` of the images goes to train. Images are drawn without
    replacement, so the number of siblings is hypergeometric; 0.0 for fewer than two images.
    """
    others = len(sizes) - 1
    if others < 1:
        return 0.0
    train = min(round(share * len(sizes)), others)
    return float(np.mean(1 - hypergeom.pmf(0, others, np.asarray(sizes) - 1, train)))


def nearest_in_training(survey: Survey) -> pd.DataFrame:
    """Find the training image most alike to each test image.

    The table is indexed by the row of the test image: `nearest` is the row of the training image, `r` the correlation
    of their thumbnails. It is empty if there are no test or no training images.
    """
    images = survey.images
    test, train = (images.index[images["subset"] == subset] for subset in ("test", "train"))
    if test.empty or train.empty:
        return pd.DataFrame({"nearest": [], "r": []})
    vectors = np.stack([mark.thumbnail.ravel() for mark in survey.fingerprints])
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    correlation = vectors[test] @ vectors[train].T
    return pd.DataFrame({"nearest": train[correlation.argmax(axis=1)], "r": correlation.max(axis=1)}, index=test)


def draw_alike(survey: Survey, pairs: int = 3) -> Figure:
    """Show the tiles of one field, and the pairs of a test and a training image that are most alike."""
    images, sizes = survey.images, field_sizes(survey)
    tiles = images[images["field"] == images["field"][sizes.idxmax()]] if sizes.max() > 1 else images[:0]
    figure, axes = frame(10.2, 2.1 * (1 + (len(tiles) > 0)), 1 + (len(tiles) > 0), 2 * pairs)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, tile in zip(axes[0], tiles.itertuples(), strict=False):
        picture(panel, window(survey, tile.Index), f"one field\n{short(tile.id)}")
    best = nearest_in_training(survey).sort_values("r", ascending=False).head(pairs)
    for place, pair in enumerate(best.itertuples()):
        for panel, row in zip(axes[-1][2 * place :], (pair.Index, pair.nearest), strict=False):
            subset = images["subset"][row]
            name = short(images["id"][row]).removeprefix(f"{subset}/")
            picture(panel, window(survey, row), f"{subset}, r = {pair.r:.2f}\n{name}")
    return figure


def describe(survey: Survey) -> str:
    """Say how many images have siblings, whether the split divides any, and what a random one would do."""
    sizes, divided = field_sizes(survey), divided_fields(survey)
    copies = int(pd.Series([mark.digest for mark in survey.fingerprints]).duplicated().sum())
    sentence = "Every image shows a field of its own"
    if (sizes > 1).any():
        sentence = (
            f"{percent((sizes > 1).mean())} of the images share a field with others (up to {sizes.max()} tiles of "
            f"one), and a random split would leave {percent(chance_of_sibling(sizes))} of the images kept aside with a "
            "sibling in training"
        )
    twice = f"{quantity(copies, 'image is an exact copy', 'images are exact copies')}, " if copies else ""
    example = f" ({', '.join(short(sample_id) for sample_id in divided[0][:2])} …)" if divided else ""
    keeps = f"this split divides {quantity(len(divided), 'field') if divided else 'no field'}{example}"
    most = nearest_in_training(survey)["r"].max()
    alike = "" if np.isnan(most) else f", and no test image is more alike to a training image than r = {most:.2f}"
    return f"{sentence}; {twice}{keeps}{alike}."


def describe_alike(survey: Survey) -> str:
    """Say which images of test and train are most alike, and whether that is too much."""
    nearest, ids = nearest_in_training(survey), survey.images["id"]
    if nearest.empty:
        return "There are no test images beside training images to compare."
    test = nearest["r"].idxmax()
    most = nearest["r"][test]
    pair = f"{short(ids[test])} of test and {short(ids[nearest['nearest'][test]])} of train"
    said = f"The most alike, {pair}, correlate by {most:.2f}"
    if most > MIN_CORRELATION:
        return f"{said}, as near-duplicates do: look whether they show the same place."
    return f"{said}, less than the {MIN_CORRELATION} of near-duplicates."

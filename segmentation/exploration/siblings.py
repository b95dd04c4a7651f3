"""Which images show one field, or nearly the same, and whether the split keeps them together."""

from collections import Counter

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import hypergeom

from segmentation.data.groups import MIN_CORRELATION, find_groups
from segmentation.data.splits import FRACTIONS
from segmentation.exploration.images import window
from segmentation.exploration.style import COLOURS, frame, legend, picture, plain, stack_by_kind
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity, short


def draw_siblings(survey: Survey) -> Figure:
    """Draw how many images share a field with how many others, and how alike the images of test and train are."""
    figure, ((left, right),) = frame(10, 3.8, 1, 2)
    sizes, kinds = group_sizes(survey), survey.images["kind"]
    present = np.unique(sizes)
    starts = np.zeros(len(present))
    for kind in survey.kinds:
        counts = np.array([np.count_nonzero((sizes == size) & (kinds == kind)) for size in present])
        left.bar(range(len(present)), counts, bottom=starts, color=COLOURS[kind], label=kind)
        starts += counts
    for place, total in enumerate(starts):
        left.text(place, total, f"{total:,.0f}", ha="center", va="bottom", fontsize=9)
    plain(left, "Images that show one field", "Images of the same field, itself included", "Images")
    left.set_xticks(range(len(present)), present)
    left.set_xlim(-1, max(len(present), 3))
    left.set_ylim(0, 1.1 * starts.max())
    legend(left)

    test, nearest, _ = nearest_in_training(survey)
    if test:
        stack_by_kind(right, nearest, kinds[test], survey.kinds, np.arange(-0.1, 1.025, 0.05))
        right.axvline(MIN_CORRELATION, color="black", linestyle="--", linewidth=1)
        right.text(MIN_CORRELATION - 0.01, 0.98, "near-duplicate", rotation=90, ha="right", va="top", fontsize=8,
                   transform=right.get_xaxis_transform())  # fmt: skip
    plain(
        right,
        "Likeness to the training images",
        "Correlation with the most alike training image\n(32 × 32 thumbnails)",
        "Test images",
    )
    return figure


def group_sizes(survey: Survey) -> np.ndarray:
    """Number of images of the field of each image, itself included, as `find_groups` sees it; (N,) int."""
    groups = find_groups(survey.collection.fingerprints)
    counts = Counter(groups.values())
    return np.array([counts[groups[sample_id]] for sample_id in survey.collection.images.ids])


def straddling(survey: Survey) -> list[list[str]]:
    """Ids of the images of each field that is in several subsets."""
    subsets = dict(zip(survey.collection.images.ids, survey.collection.subsets, strict=True))
    members: dict[str, list[str]] = {}
    for sample_id, group in find_groups(survey.collection.fingerprints).items():
        members.setdefault(group, []).append(sample_id)
    return [ids for ids in members.values() if len({subsets[sample_id] for sample_id in ids}) > 1]


def chance_of_sibling(sizes: np.ndarray, share: float = FRACTIONS[0]) -> float:
    """Mean chance that an image which a random split leaves out of train has a sibling in it.

    Parameters
    ----------
    sizes : (N,) ndarray of int
        Number of images of the field of each image, itself included.
    share : float
        Of the images that go to train.

    Returns
    -------
    float
        Without replacement, so hypergeometric; 0.0 for fewer than two images.
    """
    others = len(sizes) - 1
    if others < 1:
        return 0.0
    train = min(round(share * len(sizes)), others)
    return float(np.mean(1 - hypergeom.pmf(0, others, np.asarray(sizes) - 1, train)))


def nearest_in_training(survey: Survey) -> tuple[list[int], np.ndarray, list[int]]:
    """Find the training image most alike to each test image, by the correlation of their thumbnails.

    Returns
    -------
    test : list of int
        Indices of the test images; empty if there are no test or no training images.
    correlation : (n,) ndarray of float
    nearest : list of int
        Index of the training image.
    """
    subsets = np.array(survey.collection.subsets)
    test, train = np.flatnonzero(subsets == "test"), np.flatnonzero(subsets == "train")
    if not test.size or not train.size:
        return [], np.zeros(0), []
    marks = [survey.collection.fingerprints[sample_id].thumbnail.ravel() for sample_id in survey.collection.images.ids]
    vectors = np.stack(marks) - np.mean(marks, axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    correlation = vectors[test] @ vectors[train].T
    best = correlation.argmax(axis=1)
    return test.tolist(), correlation[np.arange(len(test)), best], train[best].tolist()


def draw_alike(survey: Survey, pairs: int = 3) -> Figure:
    """Show the tiles of one field, and the pairs of a test and a training image that are most alike."""
    ids = survey.collection.images.ids
    groups = find_groups(survey.collection.fingerprints)
    largest = [group for group, count in Counter(groups.values()).most_common(1) if count > 1]
    tiles = [index for index, sample_id in enumerate(ids) if groups[sample_id] in largest][: 2 * pairs]
    test, correlation, nearest = nearest_in_training(survey)
    order = np.argsort(-correlation)[:pairs]
    figure, axes = frame(10.2, 2.1 * (1 + bool(tiles)), 1 + bool(tiles), 2 * pairs)
    for panel in axes.flat:
        panel.set_axis_off()
    if tiles:
        for panel, index in zip(axes[0], tiles, strict=False):
            picture(panel, window(survey, index), f"one field\n{short(ids[index])}")
    for place, choice in enumerate(order):
        for panel, index, subset in zip(
            axes[-1][2 * place :], (test[choice], nearest[choice]), ("test", "train"), strict=False
        ):
            name = short(ids[index]).removeprefix(f"{subset}/")
            picture(panel, window(survey, index), f"{subset}, r = {correlation[choice]:.2f}\n{name}")
    return figure


def describe_siblings(survey: Survey) -> str:
    """Say how many images have siblings, whether the split divides any, and what a random one would do."""
    sizes = group_sizes(survey)
    marks = Counter(mark.digest for mark in survey.collection.fingerprints.values())
    twice = sum(count - 1 for count in marks.values())
    divided = straddling(survey)
    if (sizes > 1).any():
        sentence = (
            f"{percent((sizes > 1).mean())} of the images share a field with others (up to {sizes.max()} tiles of "
            f"one), and a random split would leave {percent(chance_of_sibling(sizes))} of the images kept aside with a "
            "sibling in training"
        )
    else:
        sentence = "Every image shows a field of its own"
    copies = f"{quantity(twice, 'image is an exact copy', 'images are exact copies')}, " if twice else ""
    example = f" ({', '.join(short(sample_id) for sample_id in divided[0][:2])} …)" if divided else ""
    keeps = f"this split divides {quantity(len(divided), 'field') if divided else 'no field'}{example}"
    test, correlation, _ = nearest_in_training(survey)
    alike = f", and no test image is more alike to a training image than r = {correlation.max():.2f}" if test else ""
    return f"{sentence}; {copies}{keeps}{alike}."


def describe_alike(survey: Survey) -> str:
    """Say which images of test and train are most alike, and whether that is too much."""
    ids = survey.collection.images.ids
    test, correlation, nearest = nearest_in_training(survey)
    if not test:
        return "There are no test images beside training images to compare."
    most = int(correlation.argmax())
    pair = f"{short(ids[test[most]])} of test and {short(ids[nearest[most]])} of train"
    said = f"The most alike, {pair}, correlate by {correlation[most]:.2f}"
    if correlation[most] > MIN_CORRELATION:
        return f"{said}, as near-duplicates do: look whether they show the same place."
    return f"{said}, less than the {MIN_CORRELATION} of near-duplicates."

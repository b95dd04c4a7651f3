"""What the network is asked to learn: the target channels, and what is lost by saying it that way."""

import numpy as np
from matplotlib.figure import Figure

from segmentation.evaluation.scores import ImageScore, score_image, set_figures
from segmentation.exploration.images import WINDOW, typical
from segmentation.exploration.measures import fullest_window
from segmentation.exploration.style import frame, picture, row_label
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent, quantity
from segmentation.targets.encodings import Encoding

# Images that are encoded and decoded, at most.
_MOST = 40
# Channels that are shown, at most: an encoding may have dozens of one sort.
_CHANNELS = 8


def draw_targets(survey: Survey, targets: Encoding) -> Figure:
    """Show an image of each kind and its first eight target channels, each channel on one scale for all kinds."""
    kinds, images, names = survey.kinds, survey.collection.images, targets.channels[:_CHANNELS]
    figure, axes = frame(2.0 * (len(names) + 1), 2.1 * len(kinds), len(kinds), len(names) + 1)
    encoded = []
    for row, kind in zip(axes, kinds, strict=True):
        index = typical(survey, kind)
        labels = images.label_map(index)
        shown = fullest_window(labels > 0, WINDOW)
        picture(row[0], images.pixels(index)[shown])
        row_label(row[0], kind)
        # The whole label map is encoded: nuclei that the window cuts keep their centres.
        encoded.append(targets.encode(labels)[shown])
    axes[0, 0].set_title("image", fontsize=9)
    for channel, name in enumerate(names):
        values = [channels[..., channel] for channels in encoded]
        low, high = min(shown.min() for shown in values), max(shown.max() for shown in values)
        # What has both signs is shown around zero.
        signed = low < 0 < high
        limit = max(-low, high)
        scale = (
            {"vmin": -limit, "vmax": limit, "cmap": "PuOr"}
            if signed
            else {"vmin": low, "vmax": high, "cmap": "cividis"}
        )
        column = axes[:, channel + 1]
        for panel, shown in zip(column, values, strict=True):
            drawn = panel.imshow(shown, interpolation="nearest", **scale)
            panel.set_axis_off()
        column[0].set_title(name.replace("_", " "), fontsize=9)
        figure.colorbar(drawn, ax=column, shrink=0.8, location="bottom", pad=0.02).ax.tick_params(labelsize=8)
    return figure


def score_encoding(survey: Survey, targets: Encoding, most: int = _MOST) -> list[ImageScore]:
    """Encode label maps of test images, decode the channels as if a network had predicted them exactly, and score."""
    scores = []
    for index in evenly(survey.collection.indices("test"), most):
        truth = survey.collection.images.label_map(index)
        scores.append(score_image(truth, targets.decode(targets.encode(truth))))
    return scores


def evenly(indices: list[int], most: int) -> list[int]:
    """At most so many of the indices, evenly spaced, in their order."""
    if len(indices) <= most:
        return indices
    return [indices[int(place)] for place in np.linspace(0, len(indices) - 1, most).round()]


def describe_targets(survey: Survey, targets: Encoding) -> str:
    """Say what the channels are, and what a perfect network would reach with them."""
    scores = score_encoding(survey, targets)
    truth, same = sum(score.true_nuclei for score in scores), sum(score.matched[-1] for score in scores)
    names = [name.replace("_", " ") for name in targets.channels]
    channels = listing(names if len(names) <= _CHANNELS else [*names[: _CHANNELS - 1], "so on"])
    return (
        f"The network learns {quantity(len(names), 'channel')} for each pixel ({channels}); decoded from exact "
        f"channels, {same:,} of {quantity(truth, 'nucleus', 'nuclei')} in {quantity(len(scores), 'image')} come back "
        f"(IoU above 0.95, {percent(same / max(truth, 1))}), so this encoding allows a mean AP of up to "
        f"{set_figures(scores)['mean_ap']:.3f} and what is missing to that is up to the network."
    )

"""What the network is asked to learn: the target channels, and what is lost by putting nuclei that way."""

from matplotlib.figure import Figure

from segmentation.evaluation.scores import score_image, set_figures
from segmentation.exploration.images import WINDOW, evenly, typical
from segmentation.exploration.measures import fullest_window
from segmentation.exploration.style import frame, picture, row_label
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import listing, percent, quantity
from segmentation.targets.encodings import Encoding

# Images that are encoded and decoded, at most.
_MOST = 40
# Channels that are shown, at most: an encoding may have dozens of one sort.
_CHANNELS = 8


def draw(survey: Survey, targets: Encoding) -> Figure:
    """Show an image of each kind and its first eight target channels, each channel on one scale for all kinds."""
    kinds, names = survey.kinds, targets.channels[:_CHANNELS]
    figure, axes = frame(2.0 * (len(names) + 1), 2.1 * len(kinds), len(kinds), len(names) + 1)
    encoded = []
    for panels, kind in zip(axes, kinds, strict=True):
        row = typical(survey, kind)
        labels = survey.cached.label_map(row)
        shown = fullest_window(labels > 0, WINDOW)
        picture(panels[0], survey.cached.pixels(row)[shown])
        row_label(panels[0], kind)
        # The whole label map is encoded: nuclei that the window cuts keep their centres.
        encoded.append(targets.encode(labels)[shown])
    axes[0, 0].set_title("image", fontsize=9)
    for channel, name in enumerate(names):
        values = [channels[..., channel] for channels in encoded]
        low, high = min(part.min() for part in values), max(part.max() for part in values)
        colours = "cividis"
        if low < 0 < high:
            low, high, colours = min(low, -high), max(-low, high), "PuOr"
        column = axes[:, channel + 1]
        for panel, part in zip(column, values, strict=True):
            drawn = panel.imshow(part, interpolation="nearest", vmin=low, vmax=high, cmap=colours)
            panel.set_axis_off()
        column[0].set_title(name.replace("_", " "), fontsize=9)
        figure.colorbar(drawn, ax=column, shrink=0.8, location="bottom", pad=0.02).ax.tick_params(labelsize=8)
    return figure


def describe(survey: Survey, targets: Encoding) -> str:
    """Say what the channels are, and what a perfect network would reach with them."""
    truths = [survey.cached.label_map(row) for row in evenly(survey.rows("test"), _MOST)]
    scores = [score_image(truth, targets.decode(targets.encode(truth))) for truth in truths]
    truth, same = sum(score.true_nuclei for score in scores), sum(score.matched[-1] for score in scores)
    names = [name.replace("_", " ") for name in targets.channels]
    channels = listing(names if len(names) <= _CHANNELS else [*names[: _CHANNELS - 1], "so on"])
    return (
        f"The network learns {quantity(len(names), 'channel')} for each pixel ({channels}); decoded from exact "
        f"channels, {same:,} of {quantity(truth, 'nucleus', 'nuclei')} in {quantity(len(scores), 'image')} come back "
        f"(IoU above 0.95, {percent(same / max(truth, 1))}), so this encoding allows a mean AP of up to "
        f"{set_figures(scores)['mean_ap']:.3f} and what is missing to that is up to the network."
    )

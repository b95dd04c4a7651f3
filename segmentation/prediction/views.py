"""Other ways to see a stained picture: a network that does not know its stain may know what one channel shows.

In the inverted red channel, haematoxylin and other blue dyes are bright and eosin is nearly as dark as glass: nuclei
look as they do in fluorescence. Brown dyes are bright in the inverted blue channel. A network that was trained without
pink tissue finds more in these channels, or in the mean of what it finds in red and in colour; which of them is best
differs from picture to picture, and `segmentation.prediction.trust` can tell.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from segmentation.prediction.engines import Engine, Wrapper

#: By how much another view must promise a better AP50 to be taken in place of the picture as it is: promises about a
#: stain that is new are too high by about as much.
GAIN = 0.07
# The view is chosen in a part of a picture with so many pixels a side.
SAMPLE = 1024
_CHANNELS = {"red": 0, "blue": 2}
# Of the inverted channel: they become 0 and 1, as of a grey picture.
_PERCENTILES = 1.0, 99.9


@dataclass(frozen=True)
class View:
    """How the network sees a picture: as it is, or one channel of it inverted and in grey, or both, averaged."""

    as_it_is: bool = True
    channel: str | None = None  # "red" or "blue"
    low: float = 0.0  # these intensities of the inverted channel become 0 and 1
    high: float = 1.0

    @property
    def name(self) -> str:
        """For people."""
        return " and ".join(["as it is"] * self.as_it_is + [f"{self.channel} inverted"] * bool(self.channel))

    def __call__(self, tiles: np.ndarray) -> list[np.ndarray]:
        """Return what the network sees of normalised tiles, (N, H, W, 3) float32: one or two arrays like them."""
        seen = [tiles] if self.as_it_is else []
        if self.channel:
            inverted = 1 - tiles[..., _CHANNELS[self.channel], None]
            stretched = ((inverted - self.low) / max(self.high - self.low, 1e-6)).clip(0, 1)
            seen.append(np.repeat(stretched, 3, axis=-1).astype(np.float32))
        return seen


AS_IT_IS = View()


def grey_views(sample: np.ndarray) -> list[View]:
    """Return the views of one channel for a picture like a normalised sample, (H, W, 3) float32."""
    views = []
    for channel, index in _CHANNELS.items():
        low, high = np.percentile(1 - sample[..., index], _PERCENTILES)
        views.append(View(False, channel, float(low), float(high)))
    return views


def windows(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of parts of a picture, evenly spread: three by three, nine by nine in a whole slide.

    Most of a slide may be glass. Parts that would be equal are yielded once.
    """
    rows, columns = map(_starts, shape)
    for row, column in product(rows, columns):
        yield slice(row, row + SAMPLE), slice(column, column + SAMPLE)


def _starts(length: int) -> list[int]:
    steps = min(max(-(-length // SAMPLE), 3), 9) - 1
    return sorted({max(length - SAMPLE, 0) * step // steps for step in range(steps + 1)})


def fullest(parts: Iterable[np.ndarray]) -> int:
    """Return the index of the part of a picture, (h, w, 3) float32, that differs most from the background.

    The background is the median of all parts: most of a slide may be glass.
    """
    reduced = [part[::8, ::8].copy() for part in parts]
    background = np.median([np.median(part, axis=(0, 1)) for part in reduced], axis=0)
    return int(np.argmax([np.abs(part - background).mean() for part in reduced]))


def sample_of(image: np.ndarray) -> np.ndarray:
    """Return the part of a normalised picture, (H, W, 3) float32, that differs most from the background."""
    places = list(windows(image.shape[:2]))
    return image[places[fullest(image[place] for place in places)]]


class ViewEngine(Wrapper):
    """Shows the network a view of the tiles, and returns the mean of its outputs."""

    def __init__(self, engine: Engine, view: View) -> None:
        super().__init__(engine)
        self._view = view

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        outputs = [self._engine(seen) for seen in self._view(tiles)]
        return outputs[0] if len(outputs) == 1 else (outputs[0] + outputs[1]) / 2

"""Contrast normalisation of whole images: one function, for training and for prediction.

The limits are percentiles of the *whole* image at its native depth, so that a tile is normalised like the image it
was cut from, and an 8-bit and a 16-bit copy of a picture reach the network as the same numbers.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from segmentation.data.squares import are_thin, squares_below, squares_darker

# A speck of dust or a burnt-in scale bar may outshine the nuclei. A picture has outliers if at most a fiftieth of it is
# brighter than a quarter of its range. They are left out, with the squares of 32 pixels in which they lie, if what is
# left is most of the picture, has no outliers of its own, and is more than noise and the halos of bright nuclei: its
# 98th percentile and its upper limit are 8 and 16 times the mean difference of neighbours above its lower limit. Of the
# 557 grey pictures of the 2018 Data Science Bowl as they are, one is of that kind, which has bright and dim nuclei.
# What is left of a few nuclei in a smooth picture, after JPEG or out of focus, may also seem structured: where more
# than a tenth of the squares go, it must reach a tenth of the range.
_BRIGHT_PERCENTILE, _OUTSHONE = 98.0, 4
_SQUARE = 32
_LEAST_CONTRASTS = 8, 16
# Many specks, hot pixels, lines and text leave few such squares. They are thin: a fifth of them at most lies in squares
# of 8 pixels that they fill by half, as no nuclei of 10 pixels and more do. What is left without these squares must be
# more contrasted: in copies of the pictures above at a third of their size, whose nuclei are thin, too, its 98th
# percentile is up to 19 times the mean difference.
_SMALL_SQUARE, _MOST_FILLED = 8, 0.2
_LEAST_BESIDE_THIN = 20, 20
# On a slide that is mostly glass, a hundredth of the picture may be all of the nuclei. Squares in which nothing is
# darker than this share of the range are glass.
_GLASS = 0.8

#: Gives, each time it is called, the blocks that together make up an image.
Blocks = Callable[[], Iterable[np.ndarray]]

# Floats are counted by the upper half of their bits, and then, in the few bins that matter, by the lower half.
_HALF = 1 << 16


@dataclass(frozen=True)
class Normalisation:
    """Stretch the intensities between two percentiles of the whole image to [0, 1].

    Parameters
    ----------
    lower_percentile, upper_percentile : float
        Percentiles in [0, 100]. The upper one is close to 100 because nuclei may cover as little as a thousandth of an
        image, and not 100 because of hot pixels.
    """

    lower_percentile: float = 1.0
    upper_percentile: float = 99.9

    def __post_init__(self) -> None:
        if not 0 <= self.lower_percentile < self.upper_percentile <= 100:
            raise ValueError(
                f"percentiles must satisfy 0 <= lower < upper <= 100, "
                f"got lower {self.lower_percentile} and upper {self.upper_percentile}"
            )

    def limits(self, pixels: np.ndarray) -> tuple[float, float]:
        """Return the intensities that become 0 and 1.

        Parameters
        ----------
        pixels : (H, W, C) ndarray of uint8, uint16 or float32
            A whole image, at native depth.

        Returns
        -------
        low, high : float
            In units of the image's intensities. The channels share them, so that the hue of a stained image is kept:
            `low` is the least of the channels' lower percentiles, `high` the greatest of their upper ones. Where these
            are equal, as in a picture of a few nuclei on a background of all zeros, they are the least and the greatest
            intensity of the image. Both are the least in an image of one single colour. Where a speck outshines the
            rest of the image, they are those of the rest.
        """
        return self._limits(self._measure_whole, lambda: [pixels])

    def limits_of_blocks(self, blocks: Blocks) -> tuple[float, float]:
        """Return the intensities that become 0 and 1 of an image that does not fit in memory.

        The result is that of `limits` of the whole image, exactly: values are counted, not sampled. Integers take one
        pass, floats two; twice as many where the image has outliers.

        Parameters
        ----------
        blocks : callable
            Gives, each time it is called, the blocks that together make up the image, at least one: (h, w, C) ndarray
            of uint8, uint16 or float32, in any order and of any size; the outliers are those of the whole if blocks
            begin at multiples of 32 pixels.
        """
        return self._limits(self._measure_blocks, blocks)

    def _limits(self, measure: Callable[[Blocks], tuple[float, float, float]], blocks: Blocks) -> tuple[float, float]:
        low, high = self._limits_without_outliers(measure, blocks)
        return self._lower_limit_of_tissue(measure, blocks, low, high), high

    def _lower_limit_of_tissue(
        self, measure: Callable[[Blocks], tuple[float, float, float]], blocks: Blocks, low: float, high: float
    ) -> float:
        """Return the lower limit of the squares that are not glass, if less than a quarter of a colour picture is."""
        glass = low + _GLASS * (high - low)
        n_pixels = n_tissue = 0
        for block in blocks():
            if block.shape[-1] == 1:
                return low
            n_pixels += block[..., 0].size
            n_tissue += int(squares_darker(block, glass, _SQUARE).sum())
        if not 0 < n_tissue < n_pixels / 4:
            return low

        def tissue() -> Iterator[np.ndarray]:
            for block in blocks():
                kept = squares_darker(block, glass, _SQUARE)
                if kept.any():
                    yield block[kept][None]

        return min(low, measure(tissue)[0])

    def _limits_without_outliers(
        self, measure: Callable[[Blocks], tuple[float, float, float]], blocks: Blocks
    ) -> tuple[float, float]:
        low, bright, high = measure(blocks)
        if low == high or _OUTSHONE * (bright - low) > high - low:
            return low, high
        threshold = low + (high - low) / _OUTSHONE
        rest = self._limits_of_rest(measure, blocks, threshold, _SQUARE, _LEAST_CONTRASTS)
        if rest and (rest[2] >= 0.9 or 10 * (rest[1] - rest[0]) >= high - low):
            return rest[:2]
        if are_thin(blocks(), threshold, _SMALL_SQUARE, _MOST_FILLED):
            rest = self._limits_of_rest(measure, blocks, threshold, _SMALL_SQUARE, _LEAST_BESIDE_THIN)
            if rest:
                return rest[:2]
        return low, high

    def _limits_of_rest(
        self,
        measure: Callable[[Blocks], tuple[float, float, float]],
        blocks: Blocks,
        threshold: float,
        side: int,
        least_contrasts: tuple[float, float],
    ) -> tuple[float, float, float] | None:
        """Return the limits of the squares without outliers, and their share; None unless they show nuclei."""
        n_pixels = n_left = pairs = 0
        differences = 0.0
        for block in blocks():
            kept = squares_below(block, threshold, side)
            inside = kept[:, 1:] & (np.arange(1, block.shape[1]) % side > 0)
            steps = np.abs(np.diff(block.astype(np.float32), axis=1)).mean(axis=-1)
            differences += float((steps * inside).sum(dtype=np.float64))  # ten times as fast as taking those inside
            n_pixels, n_left, pairs = n_pixels + kept.size, n_left + int(kept.sum()), pairs + int(inside.sum())
        if n_left < n_pixels / 2:
            return None
        low, bright, high = measure(lambda: (block[squares_below(block, threshold, side)][None] for block in blocks()))
        least_bright, least_high = (contrast * differences / max(pairs, 1) for contrast in least_contrasts)
        is_structured = bright - low >= least_bright and high - low >= least_high
        has_outliers = _OUTSHONE * (bright - low) <= high - low
        return (low, high, n_left / n_pixels) if is_structured and not has_outliers else None

    def _measure_whole(self, blocks: Blocks) -> tuple[float, float, float]:
        """Measure an image that is one block: its limits, and in between its 98th percentile."""
        (pixels,) = blocks()
        channels = np.moveaxis(pixels, -1, 0)
        found = np.array([self._channel_percentiles(channel) for channel in channels])
        return self._choose(found, lambda: np.array([(channel.min(), channel.max()) for channel in channels]))

    def _measure_blocks(self, blocks: Blocks) -> tuple[float, float, float]:
        """Measure an image by counting its values; the result is that of `_measure_whole`."""
        counts, is_float = np.zeros((0, 0), np.int64), False
        for block in blocks():
            if not counts.size:
                is_float = block.dtype.kind == "f"
                counts = np.zeros((block.shape[-1], 256 if block.dtype == np.uint8 else _HALF), np.int64)
            values = _countable(block) >> 16 if is_float else block
            for channel, count in enumerate(counts):
                count += np.bincount(values[..., channel].ravel(), minlength=len(count))
        ranks = self._ranks(int(counts[0].sum()))
        if is_float:
            return self._measure_float_blocks(blocks, counts, ranks)
        return self._choose(
            np.array([np.searchsorted(np.cumsum(count), ranks) for count in counts]),
            lambda: np.array([np.flatnonzero(count)[[0, -1]] for count in counts]),
        )

    def _measure_float_blocks(
        self, blocks: Blocks, counts: np.ndarray, ranks: np.ndarray
    ) -> tuple[float, float, float]:
        """Count, in a second pass, the bins in which the percentiles, the least and the greatest value lie."""
        ranks = np.array([*ranks, 1, counts[0].sum()])
        cumulated = np.cumsum(counts, axis=1)
        bins = np.array([np.searchsorted(channel, ranks) for channel in cumulated])
        lower = {(channel, int(index)): np.zeros(_HALF, np.int64) for (channel, _), index in np.ndenumerate(bins)}
        for block in blocks():
            values = _countable(block)
            for (channel, index), count in lower.items():
                inside = values[..., channel][values[..., channel] >> 16 == index]
                count += np.bincount(inside & (_HALF - 1), minlength=_HALF)
        found = np.empty(bins.shape, np.uint32)
        for (channel, column), index in np.ndenumerate(bins):
            before = cumulated[channel, index] - counts[channel, index]
            position = np.searchsorted(np.cumsum(lower[channel, int(index)]), ranks[column] - before)
            found[channel, column] = index * _HALF + position
        values = np.where(found >> 31, found & np.uint32((1 << 31) - 1), ~found).view(np.float32)
        return self._choose(values[:, :3], lambda: values[:, 3:])

    @property
    def _percentiles(self) -> tuple[float, float, float]:
        return self.lower_percentile, _BRIGHT_PERCENTILE, self.upper_percentile

    def _channel_percentiles(self, channel: np.ndarray) -> np.ndarray:
        if channel.dtype.kind != "u":
            return np.percentile(channel, self._percentiles, method="inverted_cdf")
        # Counting is exact for integers and ten times faster than sorting.
        cumulated = np.cumsum(np.bincount(channel.ravel()))
        return np.searchsorted(cumulated, self._ranks(cumulated[-1]))

    def _ranks(self, n_pixels: int) -> np.ndarray:
        """Return the position, from 1, of the percentiles among the sorted intensities."""
        return np.ceil(np.array(self._percentiles) / 100 * n_pixels).clip(1)

    @staticmethod
    def _choose(percentiles: np.ndarray, extremes: Callable[[], np.ndarray]) -> tuple[float, float, float]:
        """Return one triple from the percentiles of the channels, (C, 3), and from their least and greatest values."""
        low, bright, high = percentiles[:, 0].min(), percentiles[:, 1].max(), percentiles[:, 2].max()
        if (percentiles[:, 0] == percentiles[:, 2]).all():
            least, greatest = extremes().T
            if (least == greatest).all():
                high = low
            elif low == high:
                low, high = least.min(), greatest.max()
        return float(low), float(bright), float(high)

    def apply(self, pixels: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
        """Stretch an image, or a block of it, to what the network takes.

        Parameters
        ----------
        pixels : (H, W, C) ndarray, C in {1, 3}
        limits : (low, high)
            From `limits` of the whole image.

        Returns
        -------
        (H, W, 3) ndarray of float32, in [0, 1]
            Grey is repeated in the three channels. An image of one single intensity or colour gives zeros.
        """
        low, high = limits
        scale = 1 / (high - low) if high > low else 0.0

        def stretch(intensities: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):  # floats far above the limit become infinite, and then 1
                return ((intensities.astype(np.float32) - np.float32(low)) * np.float32(scale)).clip(0, 1)

        if pixels.dtype == np.uint8:
            # Looking up each of the 256 intensities takes half the time, and gives the same.
            stretched = cv2.LUT(pixels, stretch(np.arange(256)))
        else:
            stretched = stretch(pixels)
        return cv2.merge([stretched] * 3) if pixels.shape[-1] == 1 else stretched


@dataclass(frozen=True)
class SharedLimits(Normalisation):
    """Stretch the intensities of every image between the same two, `shared`."""

    shared: tuple[float, float] = (0.0, 1.0)

    def limits(self, pixels: np.ndarray) -> tuple[float, float]:
        """Return the two, whatever the image."""
        return self.shared

    def limits_of_blocks(self, blocks: Blocks) -> tuple[float, float]:
        """Return the two, whatever the image; each block is read once, as its values are checked on the way."""
        for _ in blocks():
            pass
        return self.shared


def _countable(pixels: np.ndarray) -> np.ndarray:
    """Return uint32 numbers in the order of float32 values: their bits, inverted where the value is negative."""
    bits = (pixels + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))

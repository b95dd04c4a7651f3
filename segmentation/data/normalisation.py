"""Contrast normalisation of whole images: one function, for training and for prediction.

The limits are percentiles of the *whole* image at its native depth, so that a tile is normalised like the image it
was cut from, and an 8-bit and a 16-bit copy of a picture reach the network as the same numbers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

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
            intensity of the image. Both are the least in an image of one single colour.
        """
        channels = np.moveaxis(pixels, -1, 0)
        limits = np.array([self._channel_limits(channel) for channel in channels])
        return self._choose(limits, lambda: np.array([(channel.min(), channel.max()) for channel in channels]))

    def limits_of_blocks(self, blocks: Callable[[], Iterable[np.ndarray]]) -> tuple[float, float]:
        """Return the intensities that become 0 and 1 of an image that does not fit in memory.

        The result is that of `limits` of the whole image, exactly: values are counted, not sampled. Integers take one
        pass, floats two.

        Parameters
        ----------
        blocks : callable
            Gives, each time it is called, the blocks that together make up the image, at least one: (h, w, C) ndarray
            of uint8, uint16 or float32, in any order and of any size.
        """
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
            return self._limits_of_float_blocks(blocks, counts, ranks)
        return self._choose(
            np.array([np.searchsorted(np.cumsum(count), ranks) for count in counts]),
            lambda: np.array([np.flatnonzero(count)[[0, -1]] for count in counts]),
        )

    def _limits_of_float_blocks(
        self, blocks: Callable[[], Iterable[np.ndarray]], counts: np.ndarray, ranks: np.ndarray
    ) -> tuple[float, float]:
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
        return self._choose(values[:, :2], lambda: values[:, 2:])

    def _channel_limits(self, channel: np.ndarray) -> np.ndarray:
        if channel.dtype.kind != "u":
            percentiles = (self.lower_percentile, self.upper_percentile)
            return np.percentile(channel, percentiles, method="inverted_cdf")
        # Counting is exact for integers and ten times faster than sorting.
        cumulated = np.cumsum(np.bincount(channel.ravel()))
        return np.searchsorted(cumulated, self._ranks(cumulated[-1]))

    def _ranks(self, n_pixels: int) -> np.ndarray:
        """Return the position, from 1, of the percentiles among the sorted intensities."""
        percentiles = np.array((self.lower_percentile, self.upper_percentile))
        return np.ceil(percentiles / 100 * n_pixels).clip(1)

    @staticmethod
    def _choose(limits: np.ndarray, extremes: Callable[[], np.ndarray]) -> tuple[float, float]:
        """Return one pair of limits from those of the channels, (C, 2), and from their least and greatest values."""
        low, high = limits[:, 0].min(), limits[:, 1].max()
        if (limits[:, 0] == limits[:, 1]).all():
            least, greatest = extremes().T
            if (least == greatest).all():
                high = low
            elif low == high:
                low, high = least.min(), greatest.max()
        return float(low), float(high)

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
            return ((intensities.astype(np.float32) - np.float32(low)) * np.float32(scale)).clip(0, 1)

        if pixels.dtype == np.uint8:
            # Looking up each of the 256 intensities takes half the time, and gives the same.
            stretched = cv2.LUT(pixels, stretch(np.arange(256)))
        else:
            stretched = stretch(pixels)
        return cv2.merge([stretched] * 3) if pixels.shape[-1] == 1 else stretched


def _countable(pixels: np.ndarray) -> np.ndarray:
    """Return uint32 numbers in the order of float32 values: their bits, inverted where the value is negative."""
    bits = (pixels + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))

"""Tell colours that only show an intensity, such as those of a lookup table, from colours that are data."""

from collections.abc import Sequence
from functools import reduce

import cv2
import numpy as np

# From entry to entry, a lookup table changes by at most 16 (red, green and blue added) or, with 16 colours, only after
# each 16 entries; but for the first and the last, which may mark black and saturation. So do some palettes that
# programs make from stained images, but to and fro: in strides of 8 their way through the colours is half as long or
# less, that of the tables of matplotlib and ImageJ nine tenths or more.
_ENTRIES, _LARGEST_STEP, _BAND = 256, 16, 16
_STRIDE, _LONGEST_WAY = 8, 1.3

# A channel is empty if nearly all of it stays below this share of the brightest channel; JPEG leaves up to 0.1.
_EMPTY = 0.12
_MOST_ABOVE = 1e-3
# Channels that show one intensity in a colour are multiples of each other, but for rounding.
_ROUNDING = 1.0
# Fluorescence has a dark background. A stained image of one hue has none.
_DARK = 0.5
_GREYEST = 0.9
# JPEG changes the hue, and exports have a white scale bar or text. In a dark field, of which a quarter is darker than a
# quarter of the brightest, as no stained picture of the 2018 Data Science Bowl is, both are told from data.
_QUARTER = 0.25
_MOST_WHITE = 0.04
# What a few pixels show is chance.
_FEWEST_VALUES = 3 * 64


def is_lookup_table(palette: np.ndarray) -> bool:
    """Tell a table of colours for intensities from the palette of a picture in colours.

    Parameters
    ----------
    palette : (N, 3) ndarray of uint8

    Examples
    --------
    >>> blue = np.zeros((256, 3), np.uint8)
    >>> blue[:, 2] = np.arange(256)
    >>> is_lookup_table(blue), is_lookup_table(np.random.default_rng(0).permutation(blue))
    (True, False)
    """
    if len(palette) != _ENTRIES:
        return False
    inner = palette[1:-1].astype(int)
    steps, strides = (np.abs(np.diff(entries, axis=0)).sum(axis=1) for entries in (inner, inner[::_STRIDE]))
    is_smooth, is_banded = steps.max() <= _LARGEST_STEP, not np.any((np.flatnonzero(steps) + 2) % _BAND)
    return bool(0 < steps.sum() <= _LONGEST_WAY * strides.sum() and (is_smooth or is_banded))


def find_single_channel(pixels: np.ndarray) -> int | None:
    """Return the channel that holds all of a picture in one colour; None where several channels have data.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8, uint16 or float32

    Returns
    -------
    int or None
        The brightest channel, if the others are empty or multiples of it, as where a fluorescence channel is shown in
        blue or cyan; also after JPEG compression, and with a white scale bar or text.

    Examples
    --------
    >>> nuclei = np.arange(100, dtype=np.uint8).reshape(10, 10)
    >>> empty = np.zeros_like(nuclei)
    >>> find_single_channel(np.stack([empty, nuclei // 2, nuclei], axis=-1))
    2
    >>> find_single_channel(np.stack([empty, nuclei.T, nuclei], axis=-1)) is None
    True
    """
    if pixels.size < _FEWEST_VALUES:
        return None
    channels = cv2.split(pixels)  # one after another in memory, which takes half the time
    highest = [float(channel.max()) for channel in channels]
    if not max(highest) > 0 or pixels.min() < 0:
        return None
    main = _find_multiples(channels, highest)
    return _find_in_dark_field(channels, max(highest)) if main is None else main


def _find_multiples(channels: Sequence[np.ndarray], highest: Sequence[float]) -> int | None:
    """Find the channel of which the others are multiples but for rounding, or which are empty."""
    main = int(np.argmax(highest))
    bright = highest[main]
    reference = channels[main].astype(np.float32)
    is_bright = reference > _DARK * bright
    rounding = _ROUNDING if channels[main].dtype.kind in "iu" else 0
    shares = []
    for other in {0, 1, 2} - {main}:
        channel = channels[other]
        if np.mean(channel > _EMPTY * bright) <= _MOST_ABOVE:
            shares.append(0.0)
            continue
        if float(reference.min()) > _DARK * bright:
            return None
        # Programs round down, which shows in the dark.
        share = float(channel[is_bright].sum(dtype=float) / reference[is_bright].sum(dtype=float))
        if np.abs(channel - share * reference).max() > rounding + 0.005 * bright:
            return None
        shares.append(share)
    # Grey, but for a hue or the traces of JPEG: that is no display colour.
    return main if min(shares) < _GREYEST else None


def _find_in_dark_field(channels: Sequence[np.ndarray], brightest: float) -> int | None:
    """Find the channel of which the others are multiples, but for what JPEG changes and for what is white."""
    low, high = reduce(np.minimum, channels), reduce(np.maximum, channels)
    if np.mean(high <= _QUARTER * brightest) < _QUARTER:
        return None
    is_white = (low >= _DARK * brightest) & (low >= _GREYEST * high)
    n_pixels, n_white = is_white.size, np.count_nonzero(is_white)
    if n_white > _MOST_WHITE * n_pixels:
        return None
    channels, low = [channel[~is_white].astype(np.float32) for channel in channels], low[~is_white]
    highest = [float(channel.max()) for channel in channels]
    main = int(np.argmax(highest))
    reference, bright = channels[main], highest[main]
    is_bright = reference > _DARK * bright
    # At the edges of what is white, all three channels are lit.
    is_edge = low > _EMPTY * bright if n_white else np.zeros(low.shape, bool)
    shares = []
    for other in {0, 1, 2} - {main}:
        share = float(channels[other][is_bright].sum(dtype=float) / reference[is_bright].sum(dtype=float))
        differs = np.abs(channels[other] - share * reference) > _EMPTY * bright
        n_edge = np.count_nonzero(differs & is_edge)
        if np.count_nonzero(differs) - n_edge > _MOST_ABOVE * n_pixels or n_edge + n_white > _MOST_WHITE * n_pixels:
            return None
        shares.append(share)
    return main if min(shares) < _GREYEST else None

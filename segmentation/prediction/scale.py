"""The scale at which the network sees a picture: how to resize to it and back, and how to find it.

On the way back the channels are resized, not the label map, because they can be interpolated. On nuclei three times as
large as those the network was trained on, that gave an AP at IoU > 0.75 of 0.54 against 0.53 for a label map enlarged
by its nearest pixels; on nuclei of a third of the size, 0.39 against 0.37.

The network itself says how large each nucleus is. On much larger nuclei than those it was trained on it says too little
(about 60 pixels), on much smaller ones too much (about 8), but in both cases it says whether to shrink the picture or
to enlarge it. So a few passes, each at the scale that the one before asked for, reach a scale that suits the network;
where the first pass finds nuclei of a known size, it is the only one. On validation images of the 2018 Data Science
Bowl that took 1.07 times the time at the same AP50 of 0.76; on copies of three times the size AP50 rose from 0.58 to
0.77, and on copies of a third from 0.50 to 0.68 (``benchmarks/scale.py``).
"""

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from segmentation.prediction.tiling import pad_to_multiple
from segmentation.targets.encodings import Encoding

# Beyond these, a nucleus of the known size is a few pixels in the picture, or the picture shows a detail of a nucleus.
SMALLEST_SCALE, LARGEST_SCALE = Fraction(1, 16), Fraction(4)
# Every diameter is within 6 % of what the nearest such fraction is for, which the network does not notice.
_LARGEST_DENOMINATOR = 16

# A picture is left as it is if its nuclei are within this factor of the known diameter. On the images above 1.5 to 1.85
# gave the same AP50 within 0.02; 1.5 takes 1.5 times the time on images as they are, 2.0 loses 0.02 on the copies, and
# 2.5 misses most nuclei that are too small.
TOLERANCE = 1.8
# The copies above took two on average.
MOST_PASSES = 4
#: Diameter of a common nucleus in micrometres: where a search begins if the size of a pixel is known.
TYPICAL_DIAMETER_UM = 10.0


class DiameterError(ValueError):
    """A nuclear diameter that cannot be used; the message is one sentence."""


def scale_for(diameter: float, known: float) -> Fraction:
    """Return the scale that brings nuclei of a diameter to the one that the network knows, within the limits."""
    # With a small denominator, a little padding makes the resizing exact, and the blocks of a large picture meet.
    scale = Fraction(known / diameter).limit_denominator(_LARGEST_DENOMINATOR)
    return min(max(scale, SMALLEST_SCALE), LARGEST_SCALE)


@dataclass(frozen=True)
class Rescaling:
    """Resize pictures for the network, and its channels back, at one scale."""

    scale: Fraction  # network pixels for each pixel of the picture, along either axis
    encoding: Encoding

    def image(self, image: np.ndarray) -> np.ndarray:
        """Resize a normalised picture, ``(H, W, 3)`` float32, for the network."""
        padded = pad_to_multiple(image, self.scale.denominator)
        height, width = (int(length * self.scale) for length in padded.shape[:2])
        interpolation = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(padded, (width, height), interpolation=interpolation)

    def channels(self, channels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Resize the channels of a resized picture, ``(h, w, C)`` float32, to the shape that the picture had."""
        height, width = (int(length / self.scale) for length in channels.shape[:2])
        return self.encoding.resize(channels, (height, width))[: shape[0], : shape[1]]


@dataclass(frozen=True)
class DiameterSearch:
    """Find the scale at which the nuclei of a picture have the size that the network knows."""

    encoding: Encoding
    foreground: float  # threshold of the probability
    known: float  # the nuclear diameter that the network was trained on, in pixels

    def first_scale(self, pixel_size_um: float | None) -> Fraction:
        """Return where to begin: 1, unless the pixels are too large or too small for common nuclei."""
        if pixel_size_um is None:
            return Fraction(1)
        return self._choose(TYPICAL_DIAMETER_UM / pixel_size_um, Fraction(1))

    def next_scale(self, channels: np.ndarray, scale: Fraction) -> tuple[float | None, Fraction]:
        """Return the median diameter of the nuclei in pixels of the picture, None without nuclei, and what to try next.

        Judges the channels of a pass, ``(H, W, C)`` float32 at the size of the picture, and the scale of that pass. The
        next scale is 1 if the network knows nuclei of that diameter or found none; the same one if it saw them at a
        size that it knows; else the one that brings them to that size.
        """
        diameter = self.encoding.median_diameter(channels, self.foreground)
        return diameter, Fraction(1) if diameter is None else self._choose(diameter, scale)

    def _choose(self, diameter: float, scale: Fraction) -> Fraction:
        for candidate in (Fraction(1), scale):
            if self.known / TOLERANCE <= diameter * float(candidate) <= self.known * TOLERANCE:
                return candidate
        return scale_for(diameter, self.known)

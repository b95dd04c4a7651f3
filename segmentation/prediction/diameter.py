"""How large the nuclei of a picture are, as far as the network can tell, and at which scale it should see them.

The network says of every nucleus how large it is. On nuclei much larger than those it learnt from, it says too little
(about 60 pixels, whatever the size), and on much smaller ones too much (about 8), but in both cases it says what is to
be done: shrink the picture, or enlarge it. So a few passes, each at the scale that the one before asked for, lead to
where the network is at home; where it finds what it knows at once, the first pass is all there is.

That is the default because it costs little where it is not needed and is worth much where it is: AP50 on validation
images of the 2018 Data Science Bowl was 0.76 with and without in 1.07 times the time, on copies of three times the size
it went from 0.58 to 0.77, and on copies of a third from 0.50 to 0.68 (``benchmarks/scale.py``).
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from segmentation.prediction.scale import scale_for
from segmentation.targets.encodings import Encoding

# A picture whose nuclei are within this factor of what the network knows stays as it is: exact, and in one pass. On
# validation images of the 2018 Data Science Bowl and copies of a third and of three times the size, 1.5 to 1.85 gave
# the same AP50 within 0.02; 1.5 takes 1.5 times the time on the images as they are, 2.0 loses 0.02 on the copies, and
# 2.5 misses most that are too small.
TOLERANCE = 1.8
# Copies of three times the size, and those of a third, took two on average.
MOST_PASSES = 4
#: How large nuclei commonly are, in micrometres; where a search begins if only the size of a pixel is known.
TYPICAL_DIAMETER_UM = 10.0


@dataclass(frozen=True)
class DiameterSearch:
    """What a search needs to know about the network.

    Attributes
    ----------
    targets : Encoding
    foreground : float
        Threshold of the foreground.
    known : float
        The nuclear diameter that the network knows, in pixels.
    """

    targets: Encoding
    foreground: float
    known: float

    def first_scale(self, pixel_size_um: float | None) -> Fraction:
        """Where to begin: as the picture is, unless its pixels are too large or small for common nuclei."""
        if pixel_size_um is None:
            return Fraction(1)
        return self._next_scale(TYPICAL_DIAMETER_UM / pixel_size_um, Fraction(1))

    def next_scale(self, channels: np.ndarray, scale: Fraction) -> tuple[float | None, Fraction]:
        """Judge a pass.

        Parameters
        ----------
        channels : (H, W, C) ndarray of float32
            What the network gave, at the size of the picture.
        scale : Fraction
            At which it saw the picture.

        Returns
        -------
        diameter : float or None
            Of the nuclei, in pixels of the picture; None where there are none.
        scale : Fraction
            What to try next: the picture as it is if the network knows nuclei of that size, or has found none; the same
            scale if it saw them at a size that it knows; else what brings them to that size.
        """
        diameter = self.targets.median_diameter(channels, self.foreground)
        return diameter, Fraction(1) if diameter is None else self._next_scale(diameter, scale)

    def _next_scale(self, diameter: float, scale: Fraction) -> Fraction:
        for candidate in (Fraction(1), scale):
            if self.known / TOLERANCE <= diameter * float(candidate) <= self.known * TOLERANCE:
                return candidate
        return scale_for(diameter, self.known)

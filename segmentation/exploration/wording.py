"""Numbers as they stand in a sentence."""

from collections.abc import Sequence

import numpy as np


def percent(share: float) -> str:
    """Write a share as a percentage: one decimal below 20 %, where it matters, and no other.

    >>> percent(0.1394), percent(0.5), percent(0.0)
    ('13.9 %', '50 %', '0 %')
    """
    if not np.isfinite(share):
        return "no"
    value = 100 * share
    return f"{value:.0f} %" if value >= 19.95 or value == 0 else f"{value:.1f} %"


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun.

    >>> quantity(1, "image"), quantity(28986, "nucleus", "nuclei")
    ('1 image', '28,986 nuclei')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listing(parts: Sequence[str]) -> str:
    """Join with commas and an "and".

    >>> listing(["a"]), listing(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def short(sample_id: str, most: int = 14) -> str:
    """Shorten the name of an image so that it fits over a small picture.

    >>> short("train/stained_03"), short("00071198d059ba7f5914a526d124d28e6d010c92466da21d4a04cd5413362552")
    ('train/stained_03', '00071198d059b…')
    """
    return sample_id if len(sample_id) <= most + 4 else sample_id[: most - 1] + "…"

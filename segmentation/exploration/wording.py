"""Numbers as they stand in a sentence."""

from collections.abc import Sequence


def percent(share: float) -> str:
    """Write a share as a percentage, with one decimal below 20 % and where rounding would say 100 %.

    >>> percent(0.1394), percent(0.5), percent(0.0), percent(0.9971), percent(1.0)
    ('13.9 %', '50 %', '0 %', '99.7 %', '100 %')
    """
    value = 100 * share
    if 0 < value < 19.95 or 99.5 <= value < 100:
        return f"{min(value, 99.9):.1f} %"
    return f"{value:.0f} %"


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun.

    >>> quantity(1, "image"), quantity(28986, "nucleus", "nuclei"), quantity(0, "image")
    ('1 image', '28,986 nuclei', 'no images')
    """
    return f"{f'{count:,}' if count else 'no'} {noun if count == 1 else plural or noun + 's'}"


def listing(parts: Sequence[str]) -> str:
    """Join with commas and an "and".

    >>> listing(["a"]), listing(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def short(sample_id: str) -> str:
    """Shorten the name of an image so that it fits over a small picture.

    >>> short("train/stained_03"), short("00071198d059ba7f5914a526d124d28e6d010c92466da21d4a04cd5413362552")
    ('train/stained_03', '00071198d059…')
    """
    return sample_id if len(sample_id) <= 22 else sample_id[:12] + "…"

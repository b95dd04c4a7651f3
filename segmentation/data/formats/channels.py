"""Choose one channel of a picture that holds several, by its name or by its number."""

from collections.abc import Sequence

import numpy as np

from segmentation.data.formats.decoded import DecodeError, Undecided, list_first

GREY = ("grey",)
RGB = ("red", "green", "blue")


# Alpha is nearly everywhere transparent or opaque.
_MOST_PARTLY_TRANSPARENT = 0.01
# Channels in a message: a damaged file may claim tens of thousands.
_LISTED = 20


class SeveralChannels(Undecided):
    """A picture of several channels, none of which was asked for."""

    def __init__(self, found: str) -> None:
        super().__init__(found, "; choose one with --channel NAME or --channel NUMBER")


def choose_channel(channel: str, names: Sequence[str | None]) -> int:
    """Return the index of a channel in `names`, which are None where the file tells none.

    `channel` is a name, compared without regard to case, or a number from 1, as Fiji and QuPath count. Names come
    first: 405 is the channel of that name, and the 405th only if there is none. A grey picture has each colour.
    `DecodeError` if there is no such channel, or several of that name.
    """
    wanted = channel.strip().casefold()
    if names[0] == GREY[0] and wanted in RGB:
        return 0
    matches = [index for index, name in enumerate(names) if name is not None and name.strip().casefold() == wanted]
    if len(matches) == 1:
        return matches[0]
    if not matches and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    found = f"has {len(matches)} channels named" if matches else "has no channel"
    raise DecodeError(f"{found} {channel!r}, where one of {list_channels(names)} was expected")


def list_channels(names: Sequence[str | None]) -> str:
    """Name the channels and number them from 1; of more than 20, the first ones.

    Examples
    --------
    >>> list_channels(["DAPI", None])
    '1 (DAPI), 2'
    """
    return list_first([f"{number} ({name})" if name else str(number) for number, name in enumerate(names, 1)], _LISTED)


def name_channels(names: Sequence[str | None], chosen: int) -> tuple[str, ...]:
    """Return a different name for each channel; "grey" for the chosen one, the index `chosen`, which is segmented.

    Examples
    --------
    >>> name_channels(["DAPI", None, "GFP"], chosen=0)
    ('grey', 'channel 2', 'GFP')
    >>> name_channels(["GFP", "GFP", "DAPI"], chosen=2)
    ('GFP', 'GFP 2', 'grey')
    """
    found = dict.fromkeys(GREY, chosen)
    for index, name in enumerate(names):
        unique = (name or "").strip() or f"channel {index + 1}"
        while unique in found:
            unique += f" {index + 1}"
        if index != chosen:
            found[unique] = index
    return tuple(sorted(found, key=found.__getitem__))


def is_all_colours(channel: str | None) -> bool:
    """Tell whether "rgb" is asked for: the first three channels are red, green and blue."""
    return channel is not None and channel.strip().casefold() == "rgb"


def are_colours(names: Sequence[str | None]) -> bool:
    """Tell whether channels are named red, green and blue, in this order."""
    return tuple(str(name).strip().lower() for name in names) == RGB


def choose_last(pixels: np.ndarray, channel: str | None) -> tuple[int, tuple[str, ...]] | None:
    """Return index and names, as `name_channels` gives them, where the last sample is chosen; None where it is alpha.

    Parameters
    ----------
    pixels : (H, W, S) ndarray
        Of 2 samples, grey and one that may be alpha, or of 4: red, green, blue and one that may be alpha.
    channel : str or None
        As `choose_channel` takes it, or "rgb".

    Raises
    ------
    SeveralChannels
        If the last sample has values of its own, so that it is no alpha, whatever the file says, and none is chosen.
    """
    names = (GREY[0], None) if pixels.shape[-1] == 2 else (*RGB, None)
    if is_all_colours(channel) or _is_alpha(pixels[..., -1]):
        return None
    if channel is None:
        raise SeveralChannels(
            f"holds {len(names)} channels, {list_channels(names)}, of which the last has values of its own and is no "
            "alpha, where one plane, grey or RGB, was expected"
        )
    index = choose_channel(channel, names)
    return (index, name_channels(names, index)) if index == len(names) - 1 else None


def _is_alpha(samples: np.ndarray) -> bool:
    """Tell whether nearly all samples are transparent, opaque, or the greatest that there are."""
    if samples.dtype.kind not in "iu":
        return samples.dtype == bool or bool(np.isin(samples, (0, 1)).mean() > 1 - _MOST_PARTLY_TRANSPARENT)
    known = (samples == 0) | (samples == np.iinfo(samples.dtype).max) | (samples == samples.max())
    return bool(known.mean() >= 1 - _MOST_PARTLY_TRANSPARENT)

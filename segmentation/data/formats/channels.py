"""Choose one channel of a picture that holds several, by its name or by its number."""

from collections.abc import Sequence

from segmentation.data.formats.decoded import DecodeError

GREY = ("grey",)
RGB = ("red", "green", "blue")


class SeveralChannels(DecodeError):
    """A picture of several channels, none of which was asked for."""


def choose_channel(channel: str, names: Sequence[str | None]) -> int:
    """Find the channel that is asked for.

    Parameters
    ----------
    channel : str
        A name, compared without regard to case, or a number from 1, as Fiji and QuPath count. A name comes first: 405
        is the channel called so before it is the 405th.
    names : sequence of str or None
        Of the channels that there are; None where the file does not tell.

    Returns
    -------
    int
        From 0.

    Raises
    ------
    DecodeError
        There is no such channel, or several of that name.
    """
    wanted = channel.strip().casefold()
    matches = [index for index, name in enumerate(names) if name is not None and name.strip().casefold() == wanted]
    if len(matches) == 1:
        return matches[0]
    if not matches and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    found = f"has {len(matches)} channels named" if matches else "has no channel"
    raise DecodeError(f"{found} {channel!r}, where one of {list_channels(names)} was expected")


def list_channels(names: Sequence[str | None]) -> str:
    """Name the channels and number them from 1.

    Examples
    --------
    >>> list_channels(["DAPI", None])
    '1 (DAPI), 2'
    """
    return ", ".join(f"{number} ({name})" if name else str(number) for number, name in enumerate(names, 1))


def name_channels(names: Sequence[str | None]) -> tuple[str, ...]:
    """Give each channel a name of its own: with its number where the file has no name, or two that are the same.

    Examples
    --------
    >>> name_channels(["DAPI", None])
    ('DAPI', 'channel_2')
    >>> name_channels(["DAPI", "GFP", "GFP"])
    ('DAPI_1', 'GFP_2', 'GFP_3')
    """
    given = [(name or "").strip() or f"channel_{number}" for number, name in enumerate(names, 1)]
    if len(set(given)) == len(given):
        return tuple(given)
    return tuple(f"{name}_{number}" for number, name in enumerate(given, 1))

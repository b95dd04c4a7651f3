"""Choose one channel of a picture that holds several, by its name or by its number."""

from collections.abc import Sequence

from segmentation.data.formats.decoded import DecodeError

GREY = ("grey",)
RGB = ("red", "green", "blue")


class SeveralChannels(DecodeError):
    """A picture of several channels, none of which was asked for."""


def choose_channel(channel: str, names: Sequence[str | None]) -> int:
    """Return the index of a channel in `names`, which are None where the file tells none.

    `channel` is a name, compared without regard to case, or a number from 1, as Fiji and QuPath count. Names come
    first: 405 is the channel of that name, and the 405th only if there is none. `DecodeError` if there is no such
    channel, or several of that name.
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


def name_channels(names: Sequence[str | None], chosen: int) -> tuple[str, ...]:
    """Return a different name for each channel; "grey" for the chosen one, the index `chosen`, which is segmented.

    Examples
    --------
    >>> name_channels(["DAPI", None, "GFP"], chosen=0)
    ('grey', 'channel 2', 'GFP')
    >>> name_channels(["GFP", "GFP", "DAPI"], chosen=2)
    ('GFP', 'GFP 2', 'grey')
    """
    found: list[str] = []
    for index, name in enumerate(names):
        unique = (name or "").strip() or f"channel {index + 1}"
        while unique in (*found, *GREY):
            unique += f" {index + 1}"
        found.append(GREY[0] if index == chosen else unique)
    return tuple(found)

"""Plates as maps of their wells: how many nuclei, how far to trust them, and links to their images."""

import re
from dataclasses import dataclass, field

from segmentation.batch.records import Record
from segmentation.results.report.links import link_files

# As in the names of fields of an OME-Zarr plate, `plate_A1_f1`, and of files, `A01_f1` or `plate_B12`.
_WELL = re.compile(r"(?:^|_)([A-P])(0?[1-9]|1\d|2[0-4])(?=_|$)")
# What the page shows at most, so that neither it nor its memory grows with the number of images.
_PLATES, _LINKS = 20, 9
_SHADES = 5


@dataclass
class _Well:
    nuclei: int = 0
    images: int = 0
    judged: int = 0  # images with a verdict
    ap50: float = 0.0  # the sum of what is expected of them
    links: list[str] = field(default_factory=list)


class Plates:
    """The wells that the names of images tell.

    Examples
    --------
    >>> plates = Plates()
    >>> for name, nuclei in (("p_A01_f1", 3), ("p_A01_f2", 4), ("p_B02_f1", 9)):
    ...     plates.add(Record(name, name, "", {}, nuclei, {}))
    >>> (plate,) = plates.maps()
    >>> plate["name"], plate["columns"]
    ('p', [1, 2])
    >>> [(row, [well and well["nuclei"] for well in wells]) for row, wells in plate["rows"]]
    [('A', [7, None]), ('B', [None, 9])]
    """

    def __init__(self) -> None:
        self._plates: dict[str, dict[tuple[str, int], _Well]] = {}
        self.has_more = False  # plates than are kept, or images of a well than are linked
        self._all_in_wells = True

    def add(self, record: Record) -> None:
        """Count an image in its well. After one that is in no well there is no plate."""
        found = _WELL.search(record.name)
        if not found:
            self._all_in_wells = False
            self._plates.clear()
        if not (found and self._all_in_wells):
            return
        name = record.name[: found.start()]
        if name not in self._plates and len(self._plates) == _PLATES:
            self.has_more = True
            return
        well = self._plates.setdefault(name, {}).setdefault((found[1], int(found[2])), _Well())
        well.nuclei += record.nuclei
        well.images += 1
        if record.verdict and record.verdict["ap50"] is not None:
            well.judged += 1
            well.ap50 += record.verdict["ap50"]
        links = [href for _, href in link_files(record.files)[:1]]
        self.has_more = self.has_more or len(well.links + links) > _LINKS
        well.links = (well.links + links)[:_LINKS]

    def maps(self) -> list[dict]:
        """Return the plates of more than one well: ``name``, ``columns``, ``rows`` of wells, None without images."""
        return [_map(name, wells) for name, wells in self._plates.items() if len(wells) > 1]


def _map(name: str, wells: dict[tuple[str, int], _Well]) -> dict:
    rows = [chr(code) for code in range(ord("A"), ord(max(row for row, _ in wells)) + 1)]
    columns = list(range(1, max(column for _, column in wells) + 1))
    most = max(1, *(well.nuclei for well in wells.values()))

    def cell(row: str, column: int) -> dict | None:
        well = wells.get((row, column))
        if well is None:
            return None
        return {
            "nuclei": well.nuclei,
            "images": well.images,
            "expected": f"{well.ap50 / well.judged:.2f}" if well.judged else "",
            "links": well.links,
            "shade": round(well.nuclei / most * _SHADES),
        }

    return {
        "name": name,
        "columns": columns,
        "rows": [(row, [cell(row, column) for column in columns]) for row in rows],
    }

"""What was done to each image, so that the next call need not do it again.

``FOLDER/.records/NAME.json`` says from which content (SHA-256) and under which settings the results of an image were
made, and how large each file is. It is written last, so results without a record are unfinished. The other files there
are the parts of tables and pages, the blocks of large images that are not finished, locks, and marks (``masks.own``) of
the folders and tables that calls began to write: others are not replaced.

A record may be damaged, or made by somebody else. One that is not as `Record` says, or that names other files than
those of its image in this folder, counts as not there.
"""

import dataclasses
import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from segmentation.atomic import is_unfinished, written_whole

RECORDS = ".records"
_SUMMARY = re.compile(r"summary(-\d+-of-\d+)?\.json")


@dataclass(frozen=True)
class Record:
    """How the results of an image were made."""

    name: str  # of the results
    input: str  # the image file, as the call named it
    sha256: str  # of its content
    settings: dict  # all that decides the label map besides the image
    nuclei: int
    files: dict[str, dict[str, int]]  # by output: the files, from the folder, with forward slashes, and their bytes
    scale: float = 1.0  # as in `Prediction`
    diameter: float | None = None
    verdict: dict | None = None  # `Verdict.as_dict`, with a model that judges its results

    @property
    def sizes(self) -> dict[str, int]:
        """All files of the image, with their sizes in bytes."""
        return {file: size for files in self.files.values() for file, size in files.items()}


_VERDICT = {"dice": (float, None), "ap50": (float, None), "unlike": str, "view": str}
_FORM = {"name": str, "input": str, "sha256": str, "settings": dict, "nuclei": int, "files": {str: {str: int}}}


@dataclass(frozen=True)
class Records:
    """The records of an output folder. Whether its own folders are links is looked up once, as there are few."""

    folder: Path
    _inside: dict[str, bool] = field(default_factory=dict, compare=False)

    def load(self, name: str) -> Record | None:
        """Return the record of an image; None if there is none that holds."""
        values = read_json(self._file(name), _FORM)
        try:
            record = Record(**values)
        except TypeError:
            return None
        holds = has_form([record.scale, record.diameter, record.verdict], [float, (float, None), (_VERDICT, None)])
        return record if holds and record.name == name and self._are_own(record) else None

    def all(self) -> Iterator[Record]:
        """Yield all records, in natural order of the names."""
        files = (file for file in (self.folder / RECORDS).glob("*.json") if not is_unfinished(file))
        yield from filter(None, map(self.load, sorted((file.stem for file in files), key=natural_order)))

    def store(self, record: Record) -> None:
        """Write a record, whole or not at all, and remove files that only the earlier record of the image lists."""
        earlier = self.load(record.name)
        with written_whole(self._file(record.name)) as part:
            part.write_text(json.dumps(dataclasses.asdict(record)))
        self._remove(earlier.sizes.keys() - record.sizes.keys() if earlier else ())

    def discard(self, name: str) -> None:
        """Remove the record of an image, and the files that it lists."""
        record = self.load(name)
        self._file(name).unlink(missing_ok=True)
        self._remove(record.sizes if record else ())

    def is_finished(self, record: Record | None, sha256: str, settings: dict, outputs: Collection[str]) -> bool:
        """Tell whether the outputs were made from this content under these settings, and all files are intact."""
        return (
            record is not None
            and (record.sha256, record.settings) == (sha256, settings)
            and record.files.keys() >= set(outputs)
            and all(self.is_intact(file, size) for file, size in record.sizes.items())
        )

    def is_intact(self, file: str, size: int) -> bool:
        """Tell whether a file is there in full size."""
        try:
            # Not by `Path`, which takes three times as long, here and below: there may be a million files.
            found = os.lstat(f"{self.folder}/{file}")
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def _file(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"

    def _are_own(self, record: Record) -> bool:
        """Tell whether all files are ``OUTPUT/NAME.*`` or below, and lie in the folder once links are followed."""
        parents = set()
        for file in record.sizes:
            output, _, rest = file.partition("/")
            if not (output and rest.startswith(f"{record.name}.")):
                return False
            parents.add(str(Path(file).parent) if "/" in rest or os.sep in rest else output)
        return all(map(self._is_inside, parents))

    def _is_inside(self, parent: str) -> bool:
        inside = self._inside.get(parent)
        if inside is None:
            inside = not Path(parent).anchor and is_inside(self.folder / parent, self.folder)
            if "/" not in parent:  # not those within Zarr stores, of which there may be many
                self._inside[parent] = inside
        return inside

    def _remove(self, files: Collection[str]) -> None:
        for file in map(Path, files):
            if is_regular(self.folder / file):
                (self.folder / file).unlink(missing_ok=True)
            # Folders within those of the outputs are Zarr stores: empty ones would look like results.
            for store in list(file.parents)[:-2]:
                with suppress(OSError):
                    (self.folder / store).rmdir()


def read_json(file: Path, form: Any) -> Any:
    """Return the content of a regular JSON file; None if there is none, or its content has not this form."""
    try:
        if not is_regular(file):
            return None
        with open(file, encoding="utf-8") as stream:
            value = json.loads(stream.read(), parse_constant=_refuse)
        return value if has_form(value, form) else None
    except (OSError, ValueError, RecursionError):
        return None


def has_form(value: Any, form: Any) -> bool:
    """Tell whether a value of JSON has a form.

    A form is a type, or None; a tuple of forms, of which the value must have one; ``[form]``, a list whose items all
    have it; ``[form, form]``, a list of just two; ``{str: form}``, an object whose values all have it;
    ``{name: form}``, an object that has at least these keys. Numbers must be from 0 to 2**53.
    """
    if form is None or isinstance(form, tuple):
        return value is None if form is None else any(has_form(value, one) for one in form)
    if isinstance(form, list):
        forms = form * len(value) if isinstance(value, list) and len(form) == 1 else form
        return isinstance(value, list) and len(value) == len(forms) and all(map(has_form, value, forms))
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return False
        expected = dict.fromkeys(value, form[str]) if str in form else form
        return all(name in value and has_form(value[name], part) for name, part in expected.items())
    if form in (int, float):
        return type(value) in (int, form) and 0 <= value < 2**53
    return isinstance(value, form)


def mark_of(place: Path) -> Path:
    """Return the file that tells that a call began to write a folder or table in its output folder."""
    return place.parent / RECORDS / f"{place.name}.own"


def is_result(file: Path) -> bool:
    """Tell whether calls write a file in its folder: a summary, or a table or page with a mark."""
    is_summary = _SUMMARY.fullmatch(file.name) and (file.parent / RECORDS).is_dir()
    return bool(is_summary) or mark_of(file).exists()


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether a path lies in a folder once links are followed."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, or names that are no names
        return False


def is_regular(file: Path) -> bool:
    """Tell whether there is a regular file, and no link, pipe or folder."""
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except (OSError, ValueError):
        return False


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return the key that sorts names by the numbers in them, ``cell2`` before ``cell10``, whatever the case.

    Names with a digest, 32 or more hexadecimal characters, sort as text.
    """
    text = name.casefold()
    parts = [text] if re.search("[0-9a-f]{32}", text) else re.split(r"(\d+)", text)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")

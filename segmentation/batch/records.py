"""What was done to each image, so that the next call need not do it again.

``FOLDER/.records/NAME.json`` says from which content (SHA-256) and under which settings the results of an image were
made, and how large each file is. It is written last, so results without a record are unfinished. The other files there
are the parts of tables and pages, and the blocks of large images that are not finished.
"""

import dataclasses
import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segmentation.atomic import is_unfinished, written_whole

RECORDS = ".records"


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

    @property
    def sizes(self) -> dict[str, int]:
        """All files of the image, with their sizes in bytes."""
        return {file: size for files in self.files.values() for file, size in files.items()}


@dataclass(frozen=True)
class Records:
    """The records of an output folder."""

    folder: Path

    def load(self, name: str) -> Record | None:
        """Return the record of an image; None if there is none, or none that this code wrote."""
        try:
            return Record(**json.loads(self._file(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

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
            return (self.folder / file).stat().st_size == size
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _file(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"

    def _remove(self, files: Collection[str]) -> None:
        for file in map(Path, files):
            (self.folder / file).unlink(missing_ok=True)
            # Folders within those of the outputs are Zarr stores: empty ones would look like results.
            for store in list(file.parents)[:-2]:
                with suppress(OSError):
                    (self.folder / store).rmdir()


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return the key that sorts names by the numbers in them, ``cell2`` before ``cell10``, whatever the case.

    Names with a digest, 32 or more hexadecimal characters, sort as text.
    """
    text = name.casefold()
    parts = [text] if re.search("[0-9a-f]{32}", text) else re.split(r"(\d+)", text)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name

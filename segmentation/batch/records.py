"""What was done to each image, so that the next call need not do it again.

``FOLDER/.records/NAME.json`` says from which content (SHA-256) and under which settings the results of an image were
made, and how large each is. It is written after them, so results without a record are unfinished ones.
``FOLDER/.records/NAME.TABLE.csv`` holds the image's rows of a table.
"""

import dataclasses
import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segmentation.atomic import written_whole

RECORDS = ".records"


@dataclass(frozen=True)
class Record:
    """How the results of an image were made.

    Attributes
    ----------
    name : str
        Of the results.
    input : str
        The image file, as it was named.
    sha256 : str
        Of its content.
    settings : dict
        All that decides the label map besides the image.
    nuclei : int
        How many were found.
    files : dict of str to dict of str to int
        For each output, the files written (relative to the folder, with forward slashes) and their sizes in bytes.
    scale : float
        Pixels that the network saw for each pixel of the image.
    diameter : float, optional
        Of the nuclei, in pixels, where it was looked for and there were nuclei.
    """

    name: str
    input: str
    sha256: str
    settings: dict
    nuclei: int
    files: dict[str, dict[str, int]]
    scale: float = 1.0
    diameter: float | None = None


class Records:
    """The records of an output folder.

    Parameters
    ----------
    folder : Path
        The output folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def load(self, name: str) -> Record | None:
        """The record of an image; None without one, or if it is not one that this code wrote."""
        try:
            return Record(**json.loads(self._file(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def store(self, record: Record) -> None:
        """Write a record, whole or not at all, and remove what an earlier one lists and this one does not."""
        stale = self._files_of(self.load(record.name)) - self._files_of(record)
        with written_whole(self._file(record.name)) as part:
            part.write_text(json.dumps(dataclasses.asdict(record)))
        self._remove(stale)

    def discard(self, name: str) -> None:
        """Remove the record of an image, and the results that it lists."""
        record = self.load(name)
        self._file(name).unlink(missing_ok=True)
        self._remove(self._files_of(record))

    def is_finished(self, record: Record | None, sha256: str, settings: dict, outputs: Collection[str]) -> bool:
        """Whether the outputs were made from this content under these settings, and still are there in full size."""
        return (
            record is not None
            and (record.sha256, record.settings) == (sha256, settings)
            and record.files.keys() >= set(outputs)
            and all(self._size(file) == size for files in record.files.values() for file, size in files.items())
        )

    def _file(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"

    def _size(self, file: str) -> int | None:
        try:
            return (self.folder / file).stat().st_size
        except FileNotFoundError:
            return None

    def _remove(self, files: Collection[str]) -> None:
        for file in map(Path, files):
            (self.folder / file).unlink(missing_ok=True)
            # Folders within those of the outputs are Zarr stores: empty ones would look like results.
            for store in list(file.parents)[:-2]:
                with suppress(OSError):
                    (self.folder / store).rmdir()

    @staticmethod
    def _files_of(record: Record | None) -> set[str]:
        return {file for files in record.files.values() for file in files} if record else set()

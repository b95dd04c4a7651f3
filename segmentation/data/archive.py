"""The files of a folder or a zip under one interface, so that a data set need not be unpacked."""

import os
import threading
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from segmentation.data.problems import DatasetError

# What file managers and archivers leave behind.
NOISE = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
# `top/stage1_train/<id>/masks/x.png` is the deepest that any layout goes; a home folder given by mistake is not walked.
MAX_PARTS = 5


class Archive:
    """A zip that many threads may read at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DatasetError(
                f"{path}: expected a folder or a zip, but it cannot be opened as a zip: {error}."
            ) from error
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Names of all members, folders among them with a trailing slash."""
        return self._zip.namelist()

    def checksum(self, name: str) -> int:
        """CRC-32 of a member, as the archive's directory gives it."""
        return self._zip.getinfo(name).CRC

    def read(self, name: str) -> bytes:
        """Return the content of a member; raise OSError where it is damaged, encrypted or unknown."""
        try:
            # ZipFile counts its open members without a lock; reading and inflating them is safe outside.
            with self._lock:
                member = self._zip.open(name)
            try:
                return member.read()
            finally:
                with self._lock:
                    member.close()
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError) as error:
            raise OSError(f"{self.path}/{name}: cannot be read from the zip: {error}") from error


@dataclass(frozen=True)
class ArchiveMember:
    """A file in a zip, with what of `pathlib.Path` a reader of images needs."""

    archive: Archive = field(repr=False, compare=False)
    path: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def checksum(self) -> int:
        """CRC-32 of the content, as the archive's directory gives it."""
        return self.archive.checksum(self.path)

    def read_bytes(self) -> bytes:
        return self.archive.read(self.path)

    def __str__(self) -> str:
        return f"{self.archive.path}/{self.path}"


File = Path | ArchiveMember


def list_files(path: Path) -> tuple[dict[str, File], set[str]]:
    """List what a folder or a zip holds, without hidden files and the droppings of file managers.

    Parameters
    ----------
    path : Path
        A folder, or a zip.

    Returns
    -------
    files : dict of str to File
        The files by their path relative to `path`, with forward slashes, sorted; at most `MAX_PARTS` deep.
    folders : set of str
        The folders, empty ones too, likewise; the top itself is "".

    Raises
    ------
    DatasetError
        If `path` does not exist or is neither.
    """
    path = Path(path)
    if path.is_dir():
        files, folders = {}, {""}
        _walk(path, (), files, folders)
    elif path.is_file():
        archive = Archive(path)
        files, folders = {}, {""}
        for name in archive.names():
            parts = name.rstrip("/").split("/")
            if len(parts) > MAX_PARTS or any(map(_is_noise, parts)):
                continue
            parents = parts if name.endswith("/") else parts[:-1]
            folders.update("/".join(parents[:depth]) for depth in range(1, len(parents) + 1))
            if not name.endswith("/"):
                files[name] = ArchiveMember(archive, name)
    else:
        raise DatasetError(f"{path}: no such folder or zip.")
    return dict(sorted(files.items())), folders


def _walk(folder: Path, parents: tuple[str, ...], files: dict[str, File], folders: set[str]) -> None:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed: {error.strerror}.") from error
    for entry in entries:
        if _is_noise(entry.name):
            continue
        parts = (*parents, entry.name)
        if not entry.is_dir():
            files["/".join(parts)] = folder / entry.name
        elif len(parts) < MAX_PARTS:
            folders.add("/".join(parts))
            _walk(Path(entry.path), parts, files, folders)


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name in NOISE

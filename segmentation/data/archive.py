"""A data set as a folder or as a zip: list and read the files of either, and unpack a zip safely."""

import hashlib
import os
import re
import stat
import threading
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from segmentation.data.images import is_special
from segmentation.data.problems import DatasetError

# Files that file managers and archivers add.
NOISE = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
# The deepest layout is `top/stage1_train/<id>/masks/x.png`; the limit keeps a home folder given by mistake cheap.
MAX_PARTS = 5
# Limits for unpacking. PNG is compressed already, so a zip of images does not shrink a hundredfold.
MAX_FILES, MAX_BYTES, MAX_RATIO = 100_000, 2_000_000_000, 100
# Of a member that is read from a zip, which takes twice as much memory. An image of 8,000 x 8,000 in RGB has 192 MB.
LARGEST_MEMBER = 500_000_000
# What `zipfile` raises for a zip that is damaged, encrypted or packed by an unknown method.
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


class Archive:
    """A zip that many threads may read at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DatasetError(
                f"{path}: expected a folder or a zip, but it cannot be opened as a zip: {error}."
            ) from error
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Archive"], tuple[Path]]:
        """Let another process open the same zip."""
        return Archive, (self.path,)

    def read(self, name: str, length: int = -1) -> bytes:
        """Return a member, or at most `length` bytes of it; OSError if damaged, encrypted, unknown, or too large."""
        try:
            size = self.zip.getinfo(name).file_size
            if length < 0 and size > LARGEST_MEMBER:
                raise zipfile.BadZipFile(f"{size:,} bytes, at most {LARGEST_MEMBER:,} are read; extract the zip")
            # ZipFile counts its open members without a lock. Reading and decompressing need none.
            with self._lock:
                member = self.zip.open(name)
            try:
                return member.read(length)
            finally:
                with self._lock:
                    member.close()
        except (*UNREADABLE, KeyError) as error:
            raise OSError(f"{self.path}/{name}: cannot be read from the zip: {error}") from error


@dataclass(frozen=True)
class ArchiveMember:
    """A file in a zip, with the attributes of `pathlib.Path` that readers of images use."""

    archive: Archive = field(repr=False, compare=False)
    path: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    @property
    def checksum(self) -> int:
        """CRC-32 of the content, from the table of contents of the zip."""
        return self.archive.zip.getinfo(self.path).CRC

    def read_bytes(self) -> bytes:
        return self.archive.read(self.path)

    def read_start(self, length: int) -> bytes:
        """Return at most `length` bytes from the beginning, however large the file is."""
        return self.archive.read(self.path, length)

    def __str__(self) -> str:
        return f"{self.archive.path}/{self.path}"


File = Path | ArchiveMember


def list_files(path: Path) -> tuple[dict[str, File], set[str]]:
    """List the files and folders of a folder or a zip, without hidden files and those of file managers.

    Return the files by their path in `path`, sorted, and the paths of all folders, empty ones too; `path` itself is "".
    Raise DatasetError if `path` does not exist, is neither a folder nor a zip, or holds names that are no UTF-8, which
    neither the split nor a table could hold.
    """
    files: dict[str, File] = {}
    folders = {""}
    if path.is_dir():
        for top, subfolders, names in os.walk(path, followlinks=True, onerror=_refuse):
            parents = Path(top).relative_to(path).parts
            deeper = len(parents) + 1 < MAX_PARTS
            subfolders[:] = [name for name in subfolders if deeper and not _is_noise(name)]
            folders.update("/".join((*parents, name)) for name in subfolders)
            files |= {"/".join((*parents, name)): Path(top, name) for name in names if not _is_noise(name)}
    elif path.is_file():
        archive = Archive(path)
        for name in archive.zip.namelist():
            parts = name.rstrip("/").split("/")
            if len(parts) > MAX_PARTS or any(map(_is_noise, parts)):
                continue
            if name.endswith("/"):
                folders.add("/".join(parts))
            else:
                files[name] = ArchiveMember(archive, name)
            folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    else:
        raise DatasetError(f"{path}: no such folder or zip.")
    for file in files.values():
        if isinstance(file, Path) and is_special(file):
            raise DatasetError(f"{file}: is a pipe, a socket or a device, expected files; remove it.")
    for name in (str(path), *files):
        if not name.isascii() and name.encode(errors="replace").decode() != name:
            raise DatasetError(f"{ascii(name)[1:-1]}: expected a name in UTF-8; rename it.")
    return dict(sorted(files.items())), folders


def _refuse(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: cannot be listed: {error.strerror}.") from error


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name in NOISE


def unpack(path: Path, folder: Path, wanted: re.Pattern[str]) -> dict[str, str]:
    """Unpack the wanted members of a zip that may be damaged or hostile; return the SHA-256 of each by its new path.

    Not with `pooch.Unzip`: it trusts the sizes, unpacks the unwanted members too unless it gets a list of the wanted
    ones, and takes most of an hour to match such a list of 30,000 names.

    Parameters
    ----------
    path : Path
        The zip.
    folder : Path
        After an error it may hold some of the files.
    wanted : re.Pattern
        Matches the whole name of a wanted member; its first group is the path in `folder`.

    Raises
    ------
    DatasetError
        If the zip is damaged; if any member, wanted or not, has an absolute path, a path through "..", or is a link;
        if the wanted members are none, occur twice, or exceed `MAX_FILES` files, `MAX_BYTES` bytes or `MAX_RATIO`
        times their compressed size.
    """
    digests = {}
    try:
        with zipfile.ZipFile(path) as source:
            members = _safe_members(path, source, wanted)
            for target, member in tqdm(members.items(), desc="unpacking", unit="file", disable=None):
                content = source.read(member)
                digests[target] = hashlib.sha256(content).hexdigest()
                file = folder / target
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    except UNREADABLE as error:
        raise DatasetError(f"{path}: is damaged or no zip: {error}.") from error
    return digests


def _safe_members(path: Path, source: zipfile.ZipFile, wanted: re.Pattern[str]) -> dict[str, zipfile.ZipInfo]:
    """Return the wanted members by their new path; raise DatasetError if the zip is not safe."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in source.infolist():
        name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
        if re.match(r"/|[A-Za-z]:", name) or "\\" in name or ".." in name.split("/"):
            raise DatasetError(f"{path}: refused, its member {name!r} would leave the folder it is unpacked to.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DatasetError(f"{path}: refused, its member {name!r} is a link or a device, expected only files.")
        match = wanted.fullmatch(name)
        if match and members.setdefault(match[1], member) is not member:
            raise DatasetError(f"{path}: refused, {match[1]} is in it twice.")
    size, packed = (sum(getattr(member, key) for member in members.values()) for key in ("file_size", "compress_size"))
    if not members:
        raise DatasetError(f"{path}: holds none of the files that were expected.")
    if len(members) > MAX_FILES or size > min(MAX_BYTES, MAX_RATIO * packed):
        raise DatasetError(
            f"{path}: refused, it would unpack to {len(members):,} files of {size:,} bytes together from {packed:,}; "
            f"expected at most {MAX_FILES:,} files, {MAX_BYTES:,} bytes and {MAX_RATIO} times the packed size."
        )
    return members

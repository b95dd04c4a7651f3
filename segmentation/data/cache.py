"""Images decoded once: normalised, as uint8, with their label maps, in memory or in a cache on disk."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from segmentation.data.archive import ArchiveMember, list_files
from segmentation.data.decoding import load_samples
from segmentation.data.fingerprints import THUMBNAIL_SIDE, Fingerprint
from segmentation.data.layouts import DataSet
from segmentation.data.masks import RunLengthMasks
from segmentation.data.modality import kind_of
from segmentation.data.normalisation import Normalisation
from segmentation.data.problems import DatasetError, Problem

# Part of the name of every cache: a cache of another format is not found, and made anew.
_FORMAT = 1

#: Data sets that take more bytes than this, decoded, are read from the cache on disk as they are needed.
MEMORY_LIMIT = 4 * 2**30


@dataclass(frozen=True)
class Entry:
    """One image: what is known of it, and where its bytes begin in the files of the cache."""

    id: str
    kind: str
    group: str
    shape: tuple[int, int]
    image_channels: int
    labels_dtype: str
    pixels_start: int
    labels_start: int


class CachedImages:
    """Normalised images with their label maps, ready to be drawn from.

    Parameters
    ----------
    entries : sequence of Entry
    pixels, labels : (N,) ndarray of uint8
        The bytes of all images and of all label maps, one after another: arrays in memory, or maps of files.
    """

    def __init__(self, entries: Sequence[Entry], pixels: np.ndarray, labels: np.ndarray):
        self._entries, self._pixels, self._labels = list(entries), pixels, labels

    @classmethod
    def from_arrays(cls, images: Sequence[np.ndarray], label_maps: Sequence[np.ndarray]) -> "CachedImages":
        """Hold images that are arrays already, normalised as those of a data set are.

        Parameters
        ----------
        images : sequence of (H, W), (H, W, 1) or (H, W, 3) ndarray of uint8, uint16 or float32
            Of any sizes.
        label_maps : sequence of (H, W) ndarray of bool or integers
            0 = background, 1..n = nuclei; one for each image.

        Raises
        ------
        ValueError
            If there is no image, or a label map has another height or width than its image.
        """
        if not images or len(images) != len(label_maps):
            raise ValueError(
                f"expected images and as many label maps, got {len(images)} images and {len(label_maps)} label maps"
            )
        entries, pixels, labels, starts = [], [], [], [0, 0]
        for number, (image, label_map) in enumerate(zip(images, label_maps, strict=True)):
            image = np.atleast_3d(image)
            if image.shape[:2] != label_map.shape:
                raise ValueError(f"image {number} has the shape {image.shape}, its label map {label_map.shape}")
            pixels.append(normalised_uint8(image, Normalisation()))
            labels.append(np.ascontiguousarray(label_map, np.uint32))
            name, channels = f"image_{number:05d}", pixels[-1].shape[-1]
            entries.append(Entry(name, kind_of(image), name, label_map.shape, channels, "uint32", *starts))
            starts = [starts[0] + pixels[-1].nbytes, starts[1] + labels[-1].nbytes]
        of_all = (np.concatenate([array.view(np.uint8).ravel() for array in arrays]) for arrays in (pixels, labels))
        return cls(entries, *of_all)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ids(self) -> list[str]:
        """Name of each image."""
        return [entry.id for entry in self._entries]

    @property
    def kinds(self) -> list[str]:
        """Kind of each image."""
        return [entry.kind for entry in self._entries]

    @property
    def groups(self) -> list[str]:
        """Group of each image: tiles of one field share one."""
        return [entry.group for entry in self._entries]

    @property
    def areas(self) -> list[int]:
        """Area of each image, in pixels."""
        return [entry.shape[0] * entry.shape[1] for entry in self._entries]

    def pixels(self, index: int) -> np.ndarray:
        """Return a normalised image, (H, W, 3) uint8."""
        entry = self._entries[index]
        shape = (*entry.shape, entry.image_channels)
        pixels = self._pixels[entry.pixels_start :][: np.prod(shape)].reshape(shape)
        return np.repeat(pixels, 3, axis=-1) if entry.image_channels == 1 else np.asarray(pixels)

    def label_map(self, index: int) -> np.ndarray:
        """Return a label map, (H, W) int32: 0 = background, 1..n = nuclei."""
        entry = self._entries[index]
        dtype = np.dtype(entry.labels_dtype)
        labels = self._labels[entry.labels_start :][: np.prod(entry.shape) * dtype.itemsize]
        return labels.view(dtype).reshape(entry.shape).astype(np.int32)

    def select(self, rows: dict) -> "CachedImages":
        """Keep the images named by the keys of `rows`, each with the kind and group that its row gives.

        Parameters
        ----------
        rows : dict of str to SplitRow
            Kind and group may be None where the split does not name them; what was found in the pixels then stays.
        """
        kept = [
            replace(entry, kind=row.kind or entry.kind, group=row.group or entry.group)
            for entry in self._entries
            if (row := rows.get(entry.id))
        ]
        return CachedImages(kept, self._pixels, self._labels)


@dataclass(frozen=True)
class CachedDataSet:
    """A data set that was decoded once.

    Attributes
    ----------
    images : CachedImages
        The usable samples, in the order of their ids; kind as the pixels show it, each image a group of its own.
    problems : list of Problem
        What is wrong with the samples, each by itself.
    fingerprints : dict of str to Fingerprint
        Of every image that could be read, for groups and for `segmentation.data.checks.check_across`.
    digest : str
        SHA-256 over the usable samples, decoded and normalised.
    """

    images: CachedImages
    problems: list[Problem]
    fingerprints: dict[str, Fingerprint]
    digest: str


def prepare(
    data_set: DataSet,
    normalisation: Normalisation,
    cache_folder: Path,
    memory_limit: int = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> CachedDataSet:
    """Decode a data set, or find it in the cache.

    The cache is keyed by the names, sizes and checksums (in a zip) or times of change (in a folder) of the files, and
    by the normalisation. It appears whole or not at all.

    Parameters
    ----------
    data_set : DataSet
        From `segmentation.data.layouts.find_data_set`.
    normalisation : Normalisation
    cache_folder : Path
        A subfolder is made in it for each data set.
    memory_limit : int
        In bytes. Where the decoded data set is larger, it stays on disk, and the system reads what is drawn.
    progress : callable, optional
        Called with the number of samples decoded and the number of all; not called if the cache serves.

    Returns
    -------
    CachedDataSet

    Raises
    ------
    DatasetError
        If no sample is usable.
    """
    folder = cache_folder / _key(data_set, normalisation)
    if not (folder / "index.json").exists():
        _write_cache(folder, data_set, normalisation, progress)
    prepared = _read_cache(folder, memory_limit)
    if not len(prepared.images):
        raise DatasetError(
            f"{data_set.path}: none of its {len(data_set.samples)} samples can be trained on; "
            f"the first problem is: {(data_set.problems + prepared.problems)[0]}."
        )
    return prepared


def _key(data_set: DataSet, normalisation: Normalisation) -> str:
    files = list(list_files(data_set.path)[0].values())
    # A table of run lengths may lie beside the folder or zip.
    files += {sample.masks.file for sample in data_set.samples if isinstance(sample.masks, RunLengthMasks)} - set(files)
    key = hashlib.sha256(json.dumps([_FORMAT, str(data_set.path.resolve()), asdict(normalisation)]).encode())
    for file in files:
        if isinstance(file, ArchiveMember):
            stamp = file.checksum
        else:
            status = file.stat()
            stamp = (status.st_size, status.st_mtime_ns)
        key.update(f"{file} {stamp}\n".encode())
    return key.hexdigest()[:24]


def _write_cache(folder: Path, data_set: DataSet, normalisation: Normalisation, progress) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        entries, problems, fingerprints = [], [], []
        digest = hashlib.sha256()
        with (
            open(partial / "pixels.bin", "wb") as pixels_file,
            open(partial / "labels.bin", "wb") as labels_file,
            open(partial / "lines.bin", "wb") as lines_file,
        ):
            for done, loaded in enumerate(load_samples(data_set.samples), 1):
                problems += [asdict(problem) for problem in loaded.problems]
                if loaded.fingerprint:
                    fingerprints.append(_pack(loaded.sample.id, loaded.fingerprint, lines_file))
                if loaded.is_usable:
                    pixels = normalised_uint8(loaded.image.pixels, normalisation)
                    labels = loaded.labels.astype(np.uint16 if loaded.labels.max() < 2**16 else np.uint32)
                    entries.append(
                        Entry(
                            id=loaded.sample.id,
                            kind=loaded.fingerprint.kind,
                            group=loaded.sample.id,
                            shape=labels.shape,
                            image_channels=pixels.shape[-1],
                            labels_dtype=labels.dtype.name,
                            pixels_start=pixels_file.tell(),
                            labels_start=labels_file.tell(),
                        )
                    )
                    for array, file in ((pixels, pixels_file), (labels, labels_file)):
                        file.write(array.tobytes())
                        digest.update(array.tobytes())
                    # The next label map begins at a multiple of its item size, whichever that is.
                    labels_file.write(bytes(-labels_file.tell() % 4))
                if progress:
                    progress(done, len(data_set.samples))
        index = {
            "entries": [asdict(entry) for entry in entries],
            "problems": problems,
            "fingerprints": fingerprints,
            "digest": digest.hexdigest(),
        }
        (partial / "index.json").write_text(json.dumps(index))
        try:
            os.replace(partial, folder)
        except OSError:
            # Another process has just written the same cache.
            if not (folder / "index.json").exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def normalised_uint8(pixels: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Normalise a whole image to uint8, (H, W, 1) if it is grey and (H, W, 3) if it is not."""
    normalised = normalisation.apply(pixels, normalisation.limits(pixels))
    return np.rint(normalised[..., : pixels.shape[-1]] * 255).astype(np.uint8)


def _pack(sample_id: str, fingerprint: Fingerprint, lines_file) -> dict:
    for line in (fingerprint.top, fingerprint.bottom, fingerprint.left, fingerprint.right, fingerprint.thumbnail):
        lines_file.write(line.astype(np.float32).tobytes())
    return {"id": sample_id, "shape": fingerprint.shape, "digest": fingerprint.digest, "kind": fingerprint.kind}


def _unpack(packed: list[dict], lines: np.ndarray) -> dict[str, Fingerprint]:
    fingerprints, start = {}, 0
    for item in packed:
        height, width = item["shape"]
        ends = start + np.cumsum([width, width, height, height, THUMBNAIL_SIDE**2])
        top, bottom, left, right, thumbnail = np.split(lines[start : ends[-1]], ends[:-1] - start)
        fingerprints[item["id"]] = Fingerprint(
            (height, width), item["digest"], item["kind"], top, bottom, left, right,
            thumbnail.reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        )  # fmt: skip
        start = ends[-1]
    return fingerprints


def _read_cache(folder: Path, memory_limit: int) -> CachedDataSet:
    index = json.loads((folder / "index.json").read_text())
    files = [folder / "pixels.bin", folder / "labels.bin"]
    if sum(file.stat().st_size for file in files) <= memory_limit:
        pixels, labels = (np.fromfile(file, np.uint8) for file in files)
    else:
        pixels, labels = (np.memmap(file, np.uint8, mode="r") for file in files)
    entries = [Entry(**(entry | {"shape": tuple(entry["shape"])})) for entry in index["entries"]]
    return CachedDataSet(
        images=CachedImages(entries, pixels, labels),
        problems=[Problem(**problem) for problem in index["problems"]],
        fingerprints=_unpack(index["fingerprints"], np.fromfile(folder / "lines.bin", np.float32)),
        digest=index["digest"],
    )

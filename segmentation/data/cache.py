"""Images decoded once: normalised, as uint8, with their label maps, in memory or in a cache on disk."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from segmentation.atomic import folder_written_whole
from segmentation.data.decoding import load_samples
from segmentation.data.fingerprints import THUMBNAIL_SIDE, Fingerprint
from segmentation.data.layouts import DataSet
from segmentation.data.modality import kind_of
from segmentation.data.normalisation import Normalisation
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.splits import SplitRow

# Part of the name of every cache, so that a cache of another format is not found.
_FORMAT = 4

#: Called with the number of samples decoded and the number of all.
Progress = Callable[[int, int], None]

#: Data sets that take more bytes than this, decoded, are read from the cache on disk as they are needed.
MEMORY_LIMIT = 4 * 2**30


@dataclass(frozen=True)
class Entry:
    """One image, and where its bytes begin in the files of the cache."""

    id: str
    kind: str
    group: str
    shape: tuple[int, int]
    image_channels: int
    labels_dtype: str
    pixels_start: int
    labels_start: int


class CachedImages:
    """Normalised images with their label maps.

    Parameters
    ----------
    pixels, labels : (N,) ndarray of uint8
        The bytes of all images and of all label maps, one after another: in memory, or memory-mapped files.
    files : (Path, Path), optional
        Files that hold these bytes: another process, to which this object is sent, maps them.

    Examples
    --------
    >>> import numpy as np
    >>> masks = [np.eye(4, dtype=bool), np.ones((3, 5), bool)]
    >>> images = CachedImages.from_arrays([mask * np.uint8(200) for mask in masks], masks)
    >>> len(images), images.pixels(1).shape, images.label_map(0).max()
    (2, (3, 5, 3), np.int32(1))
    """

    def __init__(
        self, entries: Sequence[Entry], pixels: np.ndarray, labels: np.ndarray, files: tuple[Path, Path] | None = None
    ):
        self._entries, self._pixels, self._labels, self._files = list(entries), pixels, labels, files

    def __reduce__(self) -> tuple:
        if self._files:
            return _map, (self._entries, self._files)
        return CachedImages, (self._entries, self._pixels, self._labels)

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
        all_pixels, all_labels = (
            np.concatenate([array.view(np.uint8).ravel() for array in arrays]) for arrays in (pixels, labels)
        )
        return cls(entries, all_pixels, all_labels)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self._entries]

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self._entries]

    @property
    def groups(self) -> list[str]:
        """Group of each image: tiles of one field share one."""
        return [entry.group for entry in self._entries]

    @property
    def areas(self) -> list[int]:
        """Number of pixels of each image."""
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

    def select(self, rows: Mapping[str, SplitRow]) -> "CachedImages":
        """Return the images that `rows` names, by id, with the kind and group of their row where it has them."""
        kept = [
            replace(entry, kind=row.kind or entry.kind, group=row.group or entry.group)
            for entry in self._entries
            if (row := rows.get(entry.id))
        ]
        return CachedImages(kept, self._pixels, self._labels, self._files)


@dataclass(frozen=True)
class CachedDataSet:
    """A data set that was decoded once.

    Attributes
    ----------
    images : CachedImages
        The usable samples, in the order of their ids; kind as the pixels show it, each image a group of its own.
    problems : list of Problem
        What is wrong with each sample by itself.
    fingerprints : dict of str to Fingerprint
        Of every readable image, for `find_groups` and `check_across`.
    digest : str
        SHA-256 over the pixels and label maps of the usable samples.
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
    progress: Progress | None = None,
) -> CachedDataSet:
    """Decode a data set, or read it from the cache.

    A cache serves as long as the normalisation and the names of the files stay the same, their checksums (in a zip), or
    their sizes and times of change (in a folder). It appears whole or not at all.

    Parameters
    ----------
    cache_folder : Path
        Gets a subfolder for each data set.
    memory_limit : int
        In bytes. If the decoded data set is larger, it stays on disk and is memory-mapped.
    progress : callable, optional
        Not called if the cache serves.

    Raises
    ------
    DatasetError
        If no sample is usable.
    """
    folder = cache_folder / _key(data_set, normalisation)
    if not (folder / "index.json").exists():
        _write_cache(folder, data_set, normalisation, progress)
    cached = _read_cache(folder, memory_limit)
    if not len(cached.images):
        raise DatasetError(
            f"{data_set.path}: none of its {len(data_set.samples)} samples can be trained on; "
            f"the first problem is: {(data_set.problems + cached.problems)[0]}."
        )
    return cached


def _key(data_set: DataSet, normalisation: Normalisation) -> str:
    key = hashlib.sha256(json.dumps([_FORMAT, str(data_set.path.resolve()), asdict(normalisation)]).encode())
    for file in data_set.files:
        if isinstance(file, Path):
            stamp = f"({file.stat().st_size}, {file.stat().st_mtime_ns})"
        else:
            stamp = f"{file.checksum}"
        key.update(f"{file} {stamp}\n".encode())
    return key.hexdigest()[:24]


def _write_cache(folder: Path, data_set: DataSet, normalisation: Normalisation, progress: Progress | None) -> None:
    entries, problems, fingerprints, digest = [], [], [], hashlib.sha256()
    with (
        folder_written_whole(folder) as new,
        open(new / "pixels.bin", "wb") as pixels_file,
        open(new / "labels.bin", "wb") as labels_file,
        open(new / "lines.bin", "wb") as lines_file,
    ):
        for done, loaded in enumerate(load_samples(data_set.samples), 1):
            problems += [asdict(problem) for problem in loaded.problems]
            marks = loaded.fingerprint
            if marks:
                fingerprints.append((loaded.sample.id, marks.shape, marks.digest, marks.kind))
                for lines in (marks.top, marks.bottom, marks.left, marks.right, marks.thumbnail):
                    lines_file.write(lines.astype(np.float32).tobytes())
            if marks and loaded.image and loaded.labels is not None and loaded.is_usable:
                pixels = normalised_uint8(loaded.image.pixels, normalisation)
                labels = loaded.labels.astype(np.uint16 if loaded.labels.max() < 2**16 else np.uint32)
                starts = pixels_file.tell(), labels_file.tell()
                name = loaded.sample.id
                entries.append(
                    Entry(name, marks.kind, name, labels.shape, pixels.shape[-1], labels.dtype.name, *starts)
                )
                for array, file in ((pixels, pixels_file), (labels, labels_file)):
                    file.write(array.tobytes())
                    digest.update(array.tobytes())
                # The next label map begins at a multiple of its item size, 2 or 4.
                labels_file.write(bytes(-labels_file.tell() % 4))
            if progress:
                progress(done, len(data_set.samples))
        index = {
            "entries": [asdict(entry) for entry in entries],
            "problems": problems,
            "fingerprints": fingerprints,
            "digest": digest.hexdigest(),
        }
        (new / "index.json").write_text(json.dumps(index))


def normalised_uint8(pixels: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Normalise a whole image to uint8, (H, W, 1) if it is grey and (H, W, 3) if it is not."""
    normalised = normalisation.apply(pixels, normalisation.limits(pixels))
    return np.rint(normalised[..., : pixels.shape[-1]] * 255).astype(np.uint8)


def _read_cache(folder: Path, memory_limit: int) -> CachedDataSet:
    index = json.loads((folder / "index.json").read_text())
    files = folder / "pixels.bin", folder / "labels.bin"
    entries = [Entry(**(entry | {"shape": tuple(entry["shape"])})) for entry in index["entries"]]
    if sum(file.stat().st_size for file in files) <= memory_limit:
        images = CachedImages(entries, np.fromfile(files[0], np.uint8), np.fromfile(files[1], np.uint8), files)
    else:
        images = _map(entries, files)
    fingerprints, lines = {}, np.fromfile(folder / "lines.bin", np.float32)
    for sample_id, (height, width), digest, kind in index["fingerprints"]:
        ends = np.cumsum([width, width, height, height, THUMBNAIL_SIDE**2])
        top, bottom, left, right, thumbnail, lines = np.split(lines, ends)
        thumbnail = thumbnail.reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        fingerprints[sample_id] = Fingerprint((height, width), digest, kind, top, bottom, left, right, thumbnail)
    problems = [Problem(**problem) for problem in index["problems"]]
    return CachedDataSet(images, problems, fingerprints, index["digest"])


def _map(entries: Sequence[Entry], files: tuple[Path, Path]) -> CachedImages:
    pixels, labels = (np.memmap(file, np.uint8, mode="r") for file in files)
    return CachedImages(entries, pixels, labels, files)

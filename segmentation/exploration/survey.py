"""Open a data set and measure it: one table with a row an image, one with a row a nucleus."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.color import rgb2lab

from segmentation.data.cache import CachedImages, prepare
from segmentation.data.groups import find_groups
from segmentation.data.layouts import DataSet, find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.data.painting import count_pieces
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.samples import Sample
from segmentation.data.splits import SUBSETS, SplitRow, draw_split, read_split
from segmentation.exploration.measures import local_contrast, touching
from segmentation.paths import data_folder
from segmentation.results.measurement import measure_nuclei

# Splits that are used without being asked for, where they name the images.
KNOWN_SPLITS = (data_folder() / "dsb2018_split.csv",)
CACHE = data_folder() / "cache"
NO_SUBSET = "no subset"
_SHAPE = ["label", "area", "bbox_min_y", "bbox_min_x", "bbox_max_y", "bbox_max_x", "solidity", "touches_edge"]


@dataclass(frozen=True)
class Survey:
    """The usable images of the data set at `path` and what was measured of them.

    `images` has a row an image:

    ==========================  ====================================================================================
    `id`, `subset`, `kind`      `subset` may be `NO_SUBSET`; the categories of `kind` begin with the most frequent
    `group`, `field`            group as the split has it; field as found in the pixels by `find_groups`
    `height`, `width`           in pixels
    `nuclei`, `objects`         number of nuclei, and of connected components of the foreground (8 neighbours)
    `foreground`, `touching`    share of the pixels that are nuclei, and of the nuclei that touch another
    `diameter`                  median over the nuclei that the edge does not cut, in pixels
    `background`, `brightness`  median intensity of background and of nuclei in the file, as a share of full scale
    `lightness`, `chroma`       CIELAB, of the normalised image: median lightness, 0 to 100, and mean chroma, 0 is grey
    ==========================  ====================================================================================

    `nuclei` has a row a nucleus: `image` (its row in `images`), `kind`, and `label`, `area`, `bbox_...`, `solidity`,
    `touches_edge` as in nuclei.csv; `diameter` of the disk of equal area, in pixels; whether it is `touching` another;
    `contrast`, -1 to 1, see `measures.local_contrast`. What an image without nuclei lacks is NaN.

    `cached` (pixels and label maps) and `samples` are in the order of `images`.
    """

    path: Path
    images: pd.DataFrame
    nuclei: pd.DataFrame
    cached: CachedImages
    samples: list[Sample]
    problems: list[Problem]
    split_origin: str

    @property
    def kinds(self) -> list[str]:
        """The kinds of image, the most frequent first."""
        return self.images["kind"].cat.categories.tolist()

    def rows(self, subset: str) -> list[int]:
        """Rows of the images of a subset; all rows if it is empty, so that there is something to look at."""
        return self.images.index[self.images["subset"] == subset].tolist() or self.images.index.tolist()


def open_survey(
    path: Path | str,
    split_file: Path | str | None = None,
    *,
    cache_folder: Path = CACHE,
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Decode a data set, or take it from the cache of the training, and measure it.

    Parameters
    ----------
    path : Path or str
        A folder or zip in one of the layouts of `segmentation.data.layouts`; or a folder with such data sets in folders
        named train, val and test, which are then the subsets and the beginnings of the ids.
    split_file : Path or str, optional
        As `read_split` takes it. Without it: the subsets by folder; or one of `KNOWN_SPLITS` if it names more than half
        of the images; or one is drawn with the seed 0.
    cache_folder, progress
        As `segmentation.data.cache.prepare` takes them.

    Raises
    ------
    DatasetError
        If there is no data set, no usable sample in it, or the split cannot be read.
    """
    path = Path(path)
    data_set = _by_subset(path) or find_data_set(path)
    prepared = prepare(data_set, Normalisation(), cache_folder, progress=progress)
    ids = prepared.images.ids
    fields = find_groups({sample_id: prepared.fingerprints[sample_id] for sample_id in ids})
    kinds = dict(zip(ids, prepared.images.kinds, strict=True))
    split, origin = _choose_split(data_set, split_file, kinds, fields)
    # Named apart from the groups of the split, which may have the same number.
    rows = {i: split.get(i, SplitRow(NO_SUBSET)) for i in ids}
    rows = {i: replace(row, group=row.group or f"found {fields[i]}") for i, row in rows.items()}
    cached = prepared.images.select(rows)
    by_id = {sample.id: sample for sample in data_set.samples}
    samples = [replace(by_id[i], kind=kind) for i, kind in zip(ids, cached.kinds, strict=True)]

    measured = [
        _measure(cached.pixels(row), cached.label_map(row), sample.read_image().pixels)
        for row, sample in enumerate(samples)
    ]
    known = {"id": ids, "subset": [rows[i].subset for i in ids], "kind": cached.kinds, "group": cached.groups}
    images = pd.DataFrame(known | {"field": [fields[i] for i in ids]}).join(pd.DataFrame([row for row, _ in measured]))
    images["kind"] = pd.Categorical(images["kind"], images["kind"].value_counts().index)
    nuclei = pd.concat([table.assign(image=row) for row, (_, table) in enumerate(measured)], ignore_index=True)
    nuclei.insert(0, "image", nuclei.pop("image"))
    nuclei.insert(1, "kind", images["kind"].array[nuclei["image"]])
    problems = data_set.problems + prepared.problems
    return Survey(path, images, nuclei, cached, samples, problems, origin)


def _by_subset(path: Path) -> DataSet | None:
    """Join the data sets in folders named train, val and test; None if there are none."""
    found = {name: find_data_set(path / name) for name in SUBSETS if (path / name).is_dir()}
    if not found:
        return None
    samples = [replace(sample, id=f"{name}/{sample.id}") for name, part in found.items() for sample in part.samples]
    problems = [problem for part in found.values() for problem in part.problems]
    layout = next(iter(found.values())).layout
    files = [file for part in found.values() for file in part.files]
    return DataSet(path, layout, sorted(samples, key=lambda sample: sample.id), problems, files)


def _choose_split(
    data_set: DataSet, split_file: Path | str | None, kinds: dict[str, str], fields: dict[str, str]
) -> tuple[dict[str, SplitRow], str]:
    if split_file:
        split = read_split(split_file)
        if not split.keys() & kinds.keys():
            raise DatasetError(f"{split_file}: names none of the {len(kinds)} images in {data_set.path}.")
        return split, Path(split_file).name
    folders = {sample_id: sample_id.partition("/")[0] for sample_id in kinds if "/" in sample_id}
    if folders:
        return {sample_id: SplitRow(name) for sample_id, name in folders.items()}, "the folders of the data set"
    for file in KNOWN_SPLITS:
        split = read_split(file) if file.exists() else {}
        if 2 * len(split.keys() & kinds.keys()) > len(kinds):
            return split, file.name
    try:
        return draw_split(kinds, fields, seed=0), "a draw that keeps tiles of one field together"
    except DatasetError:
        return {}, "none, for there is only one field"


def _measure(normalised: np.ndarray, labels: np.ndarray, pixels: np.ndarray) -> tuple[dict, pd.DataFrame]:
    """Measure an image as normalised, its label map, and its pixels as in the file."""
    brightness = normalised.mean(axis=-1, dtype=np.float32) / 255
    nuclei = pd.DataFrame(measure_nuclei(labels, brightness[..., None], ("grey",)))[_SHAPE]
    nuclei["diameter"] = 2 * np.sqrt(nuclei["area"] / np.pi)
    nuclei["touching"] = touching(labels)
    nuclei["contrast"] = local_contrast(labels, brightness)

    lab = rgb2lab(normalised)
    row = {
        "height": labels.shape[0],
        "width": labels.shape[1],
        "nuclei": len(nuclei),
        "objects": count_pieces(labels > 0),
        "foreground": np.mean(labels > 0),
        "touching": nuclei["touching"].mean(),
        "diameter": nuclei.loc[~nuclei["touches_edge"], "diameter"].median(),
        # The conversion itself errs by thousandths.
        "lightness": np.median(lab[..., 0]).round(2),
        "chroma": np.hypot(lab[..., 1], lab[..., 2]).mean().round(2),
    }
    scaled = np.broadcast_to(pixels / np.float32(full_scale(pixels)), (*labels.shape, 3))
    for name, where in (("background", labels == 0), ("brightness", labels > 0)):
        row[name] = float(np.median(scaled[where].mean(axis=-1))) if where.any() else np.nan
    return row, nuclei


def full_scale(pixels: np.ndarray) -> float:
    """Return the largest value that an image's integer type can hold; for floats the largest value in the image."""
    if pixels.dtype.kind == "f":
        return max(float(pixels.max()), 1e-12)
    return float(np.iinfo(pixels.dtype).max)

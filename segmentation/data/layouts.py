"""Find the samples of a data set on disk, in the layouts that people have.

    <id>/images/*.png + <id>/masks/*.png     one mask file a nucleus: the 2018 Data Science Bowl
    images/NAME.png + masks/NAME.png         a mask an image; or labels/, rois/NAME.zip, geojson/NAME.geojson
    NAME.png + NAME_mask.png                 the same in one folder
    NAME.png + stage1_train_labels.csv       run lengths, the table in the folder or beside it

Masks are binary (0 and another value), label maps, NumPy arrays, or outlines of ImageJ or QuPath; their names are those
of the images, with or without a part such as `_mask` (`segmentation.data.mask_names`).

Each may be a folder or a zip, with or without a folder around it. Hidden files, files of file managers and files that
are no images are ignored. Data sets in folders named train, val and test are one, with these subsets. Of several other
data sets, training ignores those without masks (the Bowl's archive holds stage1_train and stage1_test); if several are
left, the path is refused.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from segmentation.data import problems
from segmentation.data.archive import File, list_files
from segmentation.data.formats.decoded import list_first
from segmentation.data.mask_names import (
    MASK_FOLDERS,
    ImageNames,
    divide,
    is_image_file,
    is_mask_file,
    pair,
    several_files,
)
from segmentation.data.masks import NucleusMasks, RunLengthMasks
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.run_lengths import COLUMNS, choose_run_length_table
from segmentation.data.samples import Sample

LAYOUTS = {
    "one file a nucleus": "<id>/images/*.png + <id>/masks/*.png",
    "images beside masks": "images/NAME.png + masks/NAME.png, or labels/, rois/NAME.zip, geojson/NAME.geojson; "
    "or NAME.png + NAME_mask.png in one folder",
    "run lengths": f"NAME.png + a .csv with the columns {' and '.join(COLUMNS)} in the folder or beside it",
    "images without masks": "",
}
NUCLEUS_FILES, PAIRS, RUN_LENGTHS, NO_MASKS = LAYOUTS
# Data sets in a message.
_LISTED = 5
# Names of folders that are subsets of one data set.
_SUBSETS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class DataSet:
    """The samples of a folder or a zip.

    Attributes
    ----------
    path : Path
        The folder or zip that was given.
    layout : str
        A key of `LAYOUTS`.
    samples : list of Sample
        Sorted by id.
    problems : list of Problem
        Problems that belong to no single sample.
    files : list of Path or ArchiveMember
        All files in `path`, and the run-length table if it is beside it: a change to the data changes one of them.
    """

    path: Path
    layout: str
    samples: list[Sample]
    problems: list[Problem]
    files: list[File]


def find_samples(path: Path | str, need_masks: bool = True) -> list[Sample]:
    """List the samples of a folder or a zip; see `find_data_set`."""
    return find_data_set(path, need_masks).samples


def find_data_set(path: Path | str, need_masks: bool = True) -> DataSet:
    """Recognise the layout of a folder or a zip and list its samples, without decoding any.

    Parameters
    ----------
    path : Path or str
        A folder, or a zip.
    need_masks : bool
        Whether the samples are for training or scoring. If not, an image may have no masks, masks without an image are
        left out, and run-length tables are not looked for.

    Raises
    ------
    DatasetError
        If there is no such folder or zip, if it has none of the layouts or several data sets, or if masks are needed
        and there are none.
    """
    path = Path(path)
    files, folders = list_files(path)
    by_folder = defaultdict(list)  # folder -> the files in it that may be images or masks
    for name, file in files.items():
        if is_mask_file(name):
            by_folder[_parent(name)].append(file)
    data_sets = _with_mask_folders(path, by_folder, folders)
    if not data_sets:
        # All in one folder: that at the top, or one data set a folder.
        beside = {folder: divide(found) for folder, found in by_folder.items()}
        roots = {folder: found for folder, found in beside.items() if found[0]}
        roots = {"": roots[""]} if "" in roots else roots
        data_sets = {root: _data_set(path, PAIRS, pair(*found)) for root, found in roots.items()}
    for root, found in data_sets.items():
        if need_masks and found.layout == NO_MASKS:
            data_sets[root] = _with_run_lengths(found, root, files)
    if not data_sets:
        raise _refusal(path, "no data set found", files, folders)
    choice = {root: found for root, found in data_sets.items() if found.layout != NO_MASKS} if need_masks else data_sets
    if not choice:
        count = sum(sample.image is not None for found in data_sets.values() for sample in found.samples)
        raise _refusal(path, f"{count} images, but no masks that belong to them", files, folders)
    found = _join_subsets(path, choice)
    samples = sorted(found.samples, key=lambda sample: sample.id)
    if not need_masks:
        samples = [_without(sample, problems.NO_MASKS) for sample in samples if sample.image is not None]
    all_files = [*files.values(), *(file for file in found.files if file not in files.values())]
    return DataSet(path, found.layout, samples, found.problems, all_files)


def _join_subsets(path: Path, choice: Mapping[str, DataSet]) -> DataSet:
    """Return the only data set, or that whose subsets they are; raise DatasetError if they are several."""
    if len(choice) == 1:
        return next(iter(choice.values()))
    subsets = {root: _SUBSETS.get(PurePosixPath(root).name.lower(), "") for root in choice}
    if len({_parent(root) for root in choice}) > 1 or len(set(subsets.values()) - {""}) < len(choice):
        names = list_first(sorted(root or "." for root in choice), _LISTED)
        raise DatasetError(f"{path}: holds {len(choice)} data sets ({names}); give the folder of one of them.")
    counts = Counter(sample.id for found in choice.values() for sample in found.samples)
    samples = []
    for root, found in choice.items():
        for sample in found.samples:
            # The same name may occur in each folder.
            sample_id = sample.id if counts[sample.id] == 1 else f"{subsets[root]}_{sample.id}"
            samples.append(replace(sample, id=sample_id, subset=subsets[root]))
    layouts = {found.layout: None for found in choice.values()}
    files = [file for found in choice.values() for file in found.files]
    return DataSet(path, ", ".join(layouts), samples, [p for found in choice.values() for p in found.problems], files)


def _with_mask_folders(path: Path, by_folder: Mapping[str, list[File]], folders: set[str]) -> dict[str, DataSet]:
    """Data sets with folders named `images`, `masks` or otherwise as `MASK_FOLDERS`, by their folder."""
    # folder -> the folders in it that hold images/ or masks/, and these by their name in lower case
    units: defaultdict[str | None, dict[str, dict[str, str]]] = defaultdict(dict)
    for folder in sorted(folders):
        name = PurePosixPath(folder).name.lower()
        if name in ("images", *MASK_FOLDERS):
            unit = _parent(folder)
            units[None if unit == "" else _parent(unit)].setdefault(unit, {})[name] = folder

    data_sets = {}
    for root, members in units.items():
        images_of = {
            unit: [file for file in by_folder.get(parts.get("images", "?"), []) if is_image_file(file.name)]
            for unit, parts in sorted(members.items())
        }
        if not any(images_of.values()):
            continue
        nuclei_of = {unit: by_folder.get(members[unit].get("masks", "?"), []) for unit in images_of}
        if root is not None and _is_bowl(images_of, nuclei_of):
            samples = [
                _bowl_sample(path, unit, images, nuclei_of[unit] if "masks" in members[unit] else None)
                for unit, images in images_of.items()
                if images or nuclei_of[unit]
            ]
            data_sets[root] = _data_set(path, NUCLEUS_FILES, samples)
            continue
        for unit, images in images_of.items():
            parts = members[unit]
            mask_folders = {parts[name]: by_folder.get(parts[name], []) for name in MASK_FOLDERS if name in parts}
            if images and mask_folders:
                masks, found = _choose_masks(path, images, mask_folders)
                data_sets[unit] = replace(_data_set(path, PAIRS, pair(images, masks)), problems=found)
            elif images:
                data_sets[unit] = _data_set(path, PAIRS, pair(*divide(by_folder[parts["images"]])))
    return data_sets


def _choose_masks(
    path: Path, images: list[File], folders: Mapping[str, list[File]]
) -> tuple[list[File], list[Problem]]:
    """Choose the folder of masks of which one at least belongs to an image; raise DatasetError if several have one."""
    names = ImageNames(image.stem for image in images)
    fitting = {folder: masks for folder, masks in folders.items() if any(names.find(mask.stem) for mask in masks)}
    kinds = [PurePosixPath(folder).name.lower() for folder in fitting]
    if len(fitting) > 1 and kinds != ["labels", "masks"]:
        raise DatasetError(
            f"{path}: has the nuclei of its images in {' and in '.join(fitting)}; keep the folder that holds the truth."
        )
    # What `predict_masks.py` writes: the masks are the nuclei of the label maps as 0 and 255.
    found = [Problem(f"{path}/{folder}", "", problems.NOT_READ, False) for folder in list(fitting)[1:]]
    return next(iter(fitting.values() or folders.values()), []), found


def _data_set(path: Path, layout: str, samples: list[Sample]) -> DataSet:
    has_masks = any(sample.image is not None and sample.masks is not None for sample in samples)
    return DataSet(path, layout if has_masks else NO_MASKS, samples, [], [])


def _is_bowl(images_of: Mapping[str, list[File]], nuclei_of: Mapping[str, list[File]]) -> bool:
    """Whether each folder, with its images and its masks, is one sample rather than one data set."""

    def is_sample(unit: str, images: list[File]) -> bool:
        if len(images) != 1:
            return not images
        name = ImageNames([images[0].stem])
        return images[0].stem == PurePosixPath(unit).name or not any(name.find(mask.stem) for mask in nuclei_of[unit])

    return 2 * sum(is_sample(unit, images) for unit, images in images_of.items()) > len(images_of)


def _bowl_sample(path: Path, unit: str, images: list[File], masks: list[File] | None) -> Sample:
    sample_id = PurePosixPath(unit).name
    found: tuple[Problem, ...] = ()
    if not images:
        found = (Problem(f"{path}/{unit}", sample_id, problems.NO_IMAGE, True, f"{len(masks or ())} masks"),)
    elif len(images) > 1:
        found = (several_files(sample_id, images),)
    elif masks is None:
        found = (Problem(str(images[0]), sample_id, problems.NO_MASKS, True),)
    nuclei = None if masks is None else NucleusMasks(tuple(masks))
    return Sample(sample_id, images[0] if images else None, nuclei, problems=found)


def _with_run_lengths(data_set: DataSet, root: str, files: dict[str, File]) -> DataSet:
    """Add the masks of the run-length table that names the images, if there is one in the data set or beside it."""
    tables = [file for name, file in files.items() if _is_csv(name) and _parent(name) in {root, _parent(root)}]
    if root == "" or data_set.path.is_file():
        beside = data_set.path.resolve().parent
        tables += sorted(file for file in beside.iterdir() if _is_csv(file.name) and not file.name.startswith("."))
    ids = {sample.id for sample in data_set.samples}
    choice = choose_run_length_table(data_set.path, tables, ids)
    if choice is None:
        return data_set
    file, table = choice
    masked = {
        sample.id: replace(_without(sample, problems.NO_MASKS), masks=RunLengthMasks(file, table[sample.id]))
        for sample in data_set.samples
        if sample.id in table
    }
    samples = [masked.get(sample.id, sample) for sample in data_set.samples]
    unused = sorted(table.keys() - ids)
    detail = f"{len(unused)} ids, the first {unused[0]}" if unused else ""
    found = [Problem(str(file), "", problems.UNUSED_ROWS, False, detail)] if unused else []
    return DataSet(data_set.path, RUN_LENGTHS, samples, found, [file])


def _without(sample: Sample, what: str) -> Sample:
    return replace(sample, problems=tuple(problem for problem in sample.problems if problem.what != what))


def _refusal(path: Path, what: str, files: dict[str, File], folders: set[str]) -> DatasetError:
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in files)
    holds = [f"{len(folders) - 1} folders"] if len(folders) > 1 else []
    holds += [f"{count} files ({suffix})" for suffix, count in kinds.most_common(4)]
    lines = [f"{path}: {what}. It holds {', '.join(holds) or 'nothing'}. Expected, as a folder or a zip, one of:"]
    lines += [f"  {layout:20s} {files}" for layout, files in LAYOUTS.items() if files]
    zips = [name for name in files if name.lower().endswith(".zip")]
    if zips:
        lines.append(f"A zip is not searched for inside a folder: give {path / zips[0]} itself.")
    return DatasetError("\n".join(lines))


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _is_csv(name: str) -> bool:
    return name.lower().endswith(".csv")

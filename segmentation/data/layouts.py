"""Find the samples of a data set on disk, in the three layouts that people have.

    <id>/images/*.png + <id>/masks/*.png     one mask file a nucleus: the 2018 Data Science Bowl
    images/NAME.png + masks/NAME.png         equal names; masks binary (0 and another value) or label maps
    NAME.png + stage1_train_labels.csv       run lengths, the table in the folder or beside it

Each may be a folder or a zip, with or without a folder around it. Hidden files, files of file managers and files that
are no images are ignored. Of several data sets, training ignores those without masks (the Bowl's archive holds
stage1_train and stage1_test); if several are left, the path is refused.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from segmentation.data import problems
from segmentation.data.archive import File, list_files
from segmentation.data.images import IMAGE_SUFFIXES
from segmentation.data.masks import NucleusMasks, RunLengthMasks, WholeMask
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.run_lengths import COLUMNS, choose_run_length_table
from segmentation.data.samples import Sample

LAYOUTS = {
    "one file a nucleus": "<id>/images/*.png + <id>/masks/*.png",
    "images beside masks": "images/NAME.png + masks/NAME.png, the masks binary or label maps",
    "run lengths": f"NAME.png + a .csv with the columns {' and '.join(COLUMNS)} in the folder or beside it",
    "images without masks": "",
}
NUCLEUS_FILES, PAIRS, RUN_LENGTHS, NO_MASKS = LAYOUTS


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
    pictures = defaultdict(list)  # folder -> its pictures
    for name, file in files.items():
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
            pictures[_parent(name)].append(file)
    data_sets = _with_mask_folders(path, pictures, folders)
    if not data_sets:
        # Pictures alone: those at the top, or one data set a folder.
        roots = [""] if "" in pictures else list(pictures)
        data_sets = {root: _data_set(path, NO_MASKS, _pairs(pictures[root], [])) for root in roots}
    for root, found in data_sets.items():
        if need_masks and found.layout == NO_MASKS:
            data_sets[root] = _with_run_lengths(found, root, files)
    if not data_sets:
        raise _refusal(path, "no data set found", files, folders)
    choice = {root: found for root, found in data_sets.items() if found.layout != NO_MASKS} if need_masks else data_sets
    if not choice:
        count = sum(sample.image is not None for found in data_sets.values() for sample in found.samples)
        raise _refusal(path, f"{count} images, but no masks that belong to them", files, folders)
    if len(choice) > 1:
        names = ", ".join(sorted(root or "." for root in choice))
        raise DatasetError(f"{path}: holds {len(choice)} data sets ({names}); give the folder of one of them.")
    (found,) = choice.values()
    samples = sorted(found.samples, key=lambda sample: sample.id)
    if not need_masks:
        samples = [_without(sample, problems.NO_MASKS) for sample in samples if sample.image is not None]
    all_files = [*files.values(), *(file for file in found.files if file not in files.values())]
    return DataSet(path, found.layout, samples, found.problems, all_files)


def _with_mask_folders(path: Path, pictures: Mapping[str, list[File]], folders: set[str]) -> dict[str, DataSet]:
    """Data sets with folders named `images` or `masks`, by their folder."""
    # folder -> the folders in it that hold images/ or masks/
    units: defaultdict[str | None, set[str]] = defaultdict(set)
    for folder in folders:
        if PurePosixPath(folder).name in ("images", "masks"):
            unit = _parent(folder)
            units[None if unit == "" else _parent(unit)].add(unit)

    data_sets = {}
    for root, members in units.items():
        contents = {
            unit: (pictures.get(_join(unit, "images"), []), pictures.get(_join(unit, "masks"), []))
            for unit in sorted(members)
        }
        if not any(images for images, _ in contents.values()):
            continue
        if root is not None and _is_bowl(contents):
            samples = [
                _bowl_sample(path, unit, images, masks if _join(unit, "masks") in folders else None)
                for unit, (images, masks) in contents.items()
                if images or masks
            ]
            data_sets[root] = _data_set(path, NUCLEUS_FILES, samples)
            continue
        for unit, (images, masks) in contents.items():
            if images:
                data_sets[unit] = _data_set(path, PAIRS, _pairs(images, masks))
    return data_sets


def _data_set(path: Path, layout: str, samples: list[Sample]) -> DataSet:
    has_masks = any(sample.image is not None and sample.masks is not None for sample in samples)
    return DataSet(path, layout if has_masks else NO_MASKS, samples, [], [])


def _is_bowl(contents: dict[str, tuple[list[File], list[File]]]) -> bool:
    """Whether each folder (with its images, its masks) is one sample rather than one data set."""

    def is_sample(unit: str, images: list[File], masks: list[File]) -> bool:
        if len(images) != 1:
            return not images
        return images[0].stem == PurePosixPath(unit).name or images[0].stem not in {mask.stem for mask in masks}

    return 2 * sum(is_sample(unit, *content) for unit, content in contents.items()) > len(contents)


def _bowl_sample(path: Path, unit: str, images: list[File], masks: list[File] | None) -> Sample:
    sample_id = PurePosixPath(unit).name
    found: tuple[Problem, ...] = ()
    if not images:
        found = (Problem(f"{path}/{unit}", sample_id, problems.NO_IMAGE, True, f"{len(masks or ())} masks"),)
    elif len(images) > 1:
        found = (_several_files(sample_id, images),)
    elif masks is None:
        found = (Problem(str(images[0]), sample_id, problems.NO_MASKS, True),)
    nuclei = None if masks is None else NucleusMasks(tuple(masks))
    return Sample(sample_id, images[0] if images else None, nuclei, problems=found)


def _pairs(images: list[File], masks: list[File]) -> list[Sample]:
    by_stem: defaultdict[str, tuple[list[File], list[File]]] = defaultdict(lambda: ([], []))
    for side, files in enumerate((images, masks)):
        for file in files:
            by_stem[file.stem][side].append(file)
    samples = []
    for stem, (own_images, own_masks) in by_stem.items():
        found = [_several_files(stem, files) for files in (own_images, own_masks) if len(files) > 1]
        if not own_images:
            found.append(Problem(str(own_masks[0]), stem, problems.NO_IMAGE, True))
        if not own_masks:
            found.append(Problem(str(own_images[0]), stem, problems.NO_MASKS, True))
        image = own_images[0] if own_images else None
        samples.append(Sample(stem, image, WholeMask(own_masks[0]) if own_masks else None, problems=tuple(found)))
    return samples


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


def _several_files(sample_id: str, files: list[File]) -> Problem:
    return Problem(str(files[0]), sample_id, problems.SEVERAL_FILES, True, ", ".join(file.name for file in files))


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

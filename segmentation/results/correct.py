"""Choose the images whose correction would teach a model most, and prepare them for correction.

    python predict_masks.py my_images --output results --outputs labels images
    python -m segmentation.results.correct results --count 8 --output to_correct

Of the images in RESULTS/images.csv it takes first the one with the lowest expected AP50, then, one after the other, the
one with the most doubt times the difference from those taken already: in kind, stain, sharpness and size of the nuclei.
The list goes into OUTPUT/chosen.csv, the images into OUTPUT/images, and the outlines of their nuclei into OUTPUT/rois.
Correct the outlines there, in Fiji's ROI Manager; OUTPUT is then a data set for train.py.
"""

import csv
import math
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from segmentation.atomic import folder_written_whole
from segmentation.batch.call import digest_of
from segmentation.batch.inputs import Input
from segmentation.batch.outputs import open_csv, write_rows
from segmentation.batch.records import Record, Records
from segmentation.command_line import Parser, refuse, write_line
from segmentation.data.formats.decoded import Decoded
from segmentation.data.formats.planes import Place, name_picture
from segmentation.data.images import Image, ImageError, as_image, image_errors, read_image
from segmentation.data.label_maps import read_label_map
from segmentation.data.large import LARGEST_WHOLE, open_large
from segmentation.data.normalisation import Normalisation
from segmentation.data.pictures import PLACE_KEYS, planes_of
from segmentation.prediction.appearance import look_at
from segmentation.results.images_csv import VERDICT, read_text
from segmentation.results.rois import write_rois
from segmentation.results.tiff import write_tiff

_NEEDED = ("image", "file", "status", "height", "width", "median_diameter", *VERDICT[:2])
# An image in which nothing was found may have anything.
_DOUBT_WITHOUT_NUCLEI = 1.0


class CorrectError(ValueError):
    """The results cannot be ranked or the folder not prepared; the message is one sentence."""


def rank(doubt: np.ndarray, looks: np.ndarray, count: int) -> list[int]:
    """Choose images one after the other, each with the most doubt times the distance from those chosen before.

    Parameters
    ----------
    doubt : (n,) ndarray of float
        1 - expected AP50.
    looks : (n, k) ndarray of float
        What the images look like, in units in which 1 is a large difference; distances count up to 1.

    Returns
    -------
    list of int
        The indices of `count` images, or of all if there are fewer.

    Examples
    --------
    Two images look alike, so that only one of them is chosen before the third:

    >>> rank(np.array([0.5, 0.4, 0.2]), np.array([[0.0], [0.1], [1.0]]), 3)
    [0, 2, 1]
    """
    distance, chosen = np.ones(len(doubt)), list[int]()
    while len(chosen) < min(count, len(doubt)):
        gain = doubt * distance
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        distance = np.minimum(distance, np.linalg.norm(looks - looks[chosen[-1]], axis=1))
    return chosen


def prepare(results: Path, output: Path, count: int) -> list[dict[str, str]]:
    """Choose `count` images of a folder of results and write the folder to correct; return their rows, best first."""
    if output.exists():
        raise CorrectError(f"{output} exists already, and corrections in it must not be lost; name another --output")
    rows = _read_rows(results / "images.csv")
    records, looks = Records(results), []
    for row in rows:
        for file in (_file(row), _label_map(results, row)):
            if not file.exists():
                raise CorrectError(
                    f"{file} is not there; it takes the images where they were when predict_masks.py ran, and its "
                    "--outputs labels images"
                )
        looks.append(_look(row, _read(row, records.load(row["image"])).pixels))
    doubt = np.array([1 - float(row["expected_ap50"] or 1 - _DOUBT_WITHOUT_NUCLEI) for row in rows])
    chosen = [rows[index] for index in rank(doubt, np.array(looks), count)]
    with folder_written_whole(output) as new:
        for folder in ("images", "rois"):
            (new / folder).mkdir()
        for row in chosen:
            record = records.load(row["image"])
            if record and digest_of(Input(row["image"], _file(row), _place(row))) != record.sha256:
                raise CorrectError(f"{_file(row)} was changed after it was predicted; predict it again")
            # What was segmented, not a copy of the file: that may hold other planes, channels and pictures, which
            # train.py refuses, or be of a format that Fiji does not open.
            image, labels = _read(row, record), _read_labels(_label_map(results, row))
            if labels.shape != image.pixels.shape[:2]:
                raise CorrectError(
                    f"{_label_map(results, row)} has the shape {labels.shape}, where {image.pixels.shape[:2]} was "
                    f"expected, that of {_file(row)}; make it again with predict_masks.py --overwrite"
                )
            pixels = image.pixels if image.pixels.shape[-1] == 3 else image.pixels[..., 0]
            write_tiff(new / "images" / f"{row['image']}.tif", pixels, image.pixel_size_um)
            write_rois(new / "rois" / f"{row['image']}.zip", labels)
        with open_csv(new / "chosen.csv", "w") as stream:
            write_rows(stream, [list(rows[0]), *(row.values() for row in chosen)])
    return chosen


def _read_rows(table: Path) -> list[dict[str, str]]:
    try:
        with open_csv(table, "r") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("status") == "done"]
    except (OSError, csv.Error) as error:
        raise CorrectError(
            f"{table} cannot be read ({getattr(error, 'strerror', error)}); make it with predict_masks.py "
            "--outputs labels images"
        ) from error
    if not rows:
        raise CorrectError(f"{table} names no image that was predicted; expected at least one")
    missing = [name for name in _NEEDED if rows[0].get(name) is None]
    if missing:
        advice = "make it again with predict_masks.py --outputs labels images"
        if missing[0] in VERDICT:
            advice = (
                "predict with a model that judges its results, as the released one does, or fit that with "
                "python -m segmentation.training.calibrate MODEL --only-trust"
            )
        raise CorrectError(f"{table} has no column {missing[0]}; {advice}")
    for row in rows:
        for name in ("height", "width", "median_diameter", "expected_ap50"):
            if row[name] and not _is_number(row[name]):
                raise CorrectError(
                    f"{table} holds {row[name]!r} as {name} of {row['image']}, where a number such as 0.5 was "
                    "expected; make it again with predict_masks.py"
                )
    large = [row for row in rows if float(row["height"] or 0) * float(row["width"] or 0) > LARGEST_WHOLE]
    if large:
        names = ", ".join(row["image"] for row in large)
        sentence = f"outlines of more than {LARGEST_WHOLE:,} pixels cannot be corrected: cut out parts of {names}"
        if len(large) == len(rows):
            raise CorrectError(sentence)
        write_line(f"correct: {sentence}; the others are done without", sys.stderr)
    return [row for row in rows if row not in large]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _file(row: dict[str, str]) -> Path:
    return Path(read_text(row["file"]))


def _label_map(results: Path, row: dict[str, str]) -> Path:
    """Return the label map of an image, a TIFF, or for a Zarr store another."""
    labels = results / "labels" / f"{row['image']}.tif"
    return labels if labels.exists() or not _file(row).is_dir() else labels.with_suffix(".zarr")


def _place(row: dict[str, str]) -> Place:
    return tuple((key, row[key]) for key in PLACE_KEYS if row.get(key))


def _read(row: dict[str, str], record: Record | None) -> Image:
    """Read what was segmented, as the record of the image says."""
    settings = record.settings if record else {}
    file, channel, planes = _file(row), settings.get("channel"), planes_of(_place(row), settings.get("project"))
    try:
        large = open_large(file, channel, planes=planes) if file.is_dir() else None
        if not large:
            return read_image(file, channel, planes)
        with closing(large), image_errors(file):
            pixels = large.read(*(slice(0, length) for length in large.shape))
            pixels = pixels if pixels.shape[-1] == 3 else pixels[..., 0]
            return as_image(Decoded(pixels, pixel_size_um=large.pixel_size_um))
    except ImageError as error:
        said = name_picture(file, _place(row)) + str(error).removeprefix(str(file))
        raise CorrectError(f"{said}; it was read when it was predicted, so predict it again") from error


def _read_labels(file: Path) -> np.ndarray:
    """Read a label map, a TIFF or a Zarr store."""
    try:
        return read_label_map(file) if file.is_file() else _read_zarr(file)
    except ImageError as error:
        raise CorrectError(f"{error}; make it again with predict_masks.py --overwrite") from error


def _read_zarr(store: Path) -> np.ndarray:
    import zarr

    return np.asarray(zarr.open_array(store / "labels" / "nuclei" / "0", mode="r")).squeeze().astype(np.int32)


def _look(row: dict[str, str], pixels: np.ndarray) -> list[float]:
    """Return stain, sharpness and size of the nuclei, such that 1 is a large difference."""
    normalisation = Normalisation()
    look = look_at(normalisation.apply(pixels, normalisation.limits(pixels)))
    # Differences of a fifth of the range of a colour, and of factors of four.
    size = math.log2(float(row["median_diameter"])) / 2 if row["median_diameter"] else 0.0
    return [*(5 * colour for colour in look.stain), math.log2(max(look.sharpness, 1e-3)) / 2, size]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("results", type=Path, help="the --output of predict_masks.py")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="how many images to correct (default: 8)")
    parser.add_argument("--output", type=Path, default=Path("to_correct"), metavar="FOLDER", help="is made")
    args = parser.parse_args(arguments)
    if args.count < 1:
        parser.error(f"--count must be 1 or more, got {args.count}")
    try:
        chosen = prepare(args.results, args.output, args.count)
    except CorrectError as error:
        return refuse("correct", error)
    except OSError as error:
        file = error.filename or args.output
        return refuse("correct", CorrectError(f"{file} cannot be read or written ({error.strerror})"))
    for row in chosen:
        expected = f"expected AP50 {row['expected_ap50'] or 'unknown'} {row['unlike']}".rstrip()
        write_line(f"{row['image']}: {expected}", sys.stdout)
    command = shlex.join(["python", "train.py", "--data", str(args.output)])
    write_line(f"correct the outlines in {args.output / 'rois'}, then: {command}", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

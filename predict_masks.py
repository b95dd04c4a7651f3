"""Find the nuclei in images: masks, label maps, counts and measurements.

    python predict_masks.py cells.png
    python predict_masks.py scans/*.tif --output results --outputs masks labels table
    python predict_masks.py data/dsb2018 --split data/dsb2018_split.csv --subset test

Needs no TensorFlow: requirements-predict.txt is enough. Exit status 0: all images are done; 1: some failed, named on
standard error and in summary.json, and the others are done; 2: nothing could be done; 130: interrupted.
"""

import argparse
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from segmentation.results.formats import FORMATS, open_outputs

DEFAULT_MODEL = Path(__file__).parent / "models" / "nuclei"

EXAMPLES = """
examples:
  python predict_masks.py cells.png
      masks, label maps, overlays and nuclei.csv of one image, in predictions/
  python predict_masks.py scans/*.tif more_scans/ --output results --outputs labels table
      only label maps and measurements of many images; the same command again does only what is not done yet
  python predict_masks.py data/dsb2018 --split data/dsb2018_split.csv --subset test --outputs labels rle
      the test images of the 2018 Data Science Bowl, with run lengths for Kaggle
  python predict_masks.py scans/ --shard 3/8
      every eighth image from the third on: eight such processes share the work, on one machine or on several
"""


def main() -> int:
    """Run the command line; return the exit status."""
    arguments = parse_arguments()
    try:
        return predict(arguments)
    except KeyboardInterrupt:
        print("Interrupted; what is finished is kept, and the same command goes on from there.", file=sys.stderr)
        return 130


def parse_arguments(argv=None) -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported yet, so that --help is instant."""
    parser = argparse.ArgumentParser(
        description="Find the nuclei in images: masks, label maps, counts and measurements.",
        epilog=EXAMPLES,
        formatter_class=_Formatter,
    )
    group = parser.add_argument_group("what to predict")
    group.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="files, globs, OME-Zarr stores (image.zarr), folders (not those inside them), or a data set in the Bowl's "
        "layout, folder or zip",
    )
    group.add_argument("--split", metavar="CSV", help="table of ids and subsets; goes with --subset")
    group.add_argument("--subset", metavar="NAME", help="only images of this subset of the split")
    group.add_argument(
        "--channel",
        metavar="NAME|N",
        help="which channel of images that have several shows the nuclei: its name, or its number from 1 as in Fiji",
    )
    group.add_argument("--shard", type=_shard, metavar="I/N", help="only every N-th image, from the I-th on")

    group = parser.add_argument_group("what to write")
    group.add_argument("--output", type=Path, default=Path("predictions"), metavar="FOLDER", help="where to")
    group.add_argument(
        "--outputs",
        nargs="+",
        choices=FORMATS,
        default=["masks", "labels", "overlays", "table"],
        metavar="NAME",
        help="any of: masks (PNG 0/255), labels (TIFF, 1..n), overlays (PNG), table (nuclei.csv), "
        "rle (submission.csv), rois (ImageJ), geojson (QuPath), probabilities (TIFF, 255 is certain), "
        "report (report.html: all results at a glance, for a browser)",
    )
    group.add_argument("--overwrite", action="store_true", help="do finished images again")

    group = parser.add_argument_group("how")
    group.add_argument(
        "--model", type=Path, default=DEFAULT_MODEL, metavar="FOLDER", help="a trained model (default: models/nuclei)"
    )
    group.add_argument(
        "--threshold", type=_probability, metavar="P", help="least probability of a nucleus; without it the model's"
    )
    group.add_argument(
        "--min-area", type=_area, metavar="PIXELS", help="smaller nuclei are dropped; without it the model's"
    )
    group.add_argument(
        "--diameter",
        type=_diameter,
        default="auto",
        metavar="PIXELS|auto|none",
        help="of the nuclei: images are rescaled so that they have the diameter that the model knows; auto: as the "
        "model itself estimates for each image; none: images are never rescaled",
    )
    group.add_argument(
        "--pixel-size",
        type=_micrometres,
        metavar="UM",
        help="side of a pixel in micrometres, whatever the files say: for all measurements, and where auto begins, as "
        "if nuclei measured 10 micrometres",
    )
    group.add_argument(
        "--tta",
        action="store_true",
        help="flip and turn each image in all eight ways and average: a little better, eight times as slow",
    )
    group.add_argument("--engine", choices=("auto", "openvino", "keras"), default="auto", help="keras is for a GPU")
    group.add_argument(
        "--precision",
        choices=("f32", "bf16"),
        help="of the arithmetic; without it f32, or bf16 where the model was validated so and the processor gains",
    )
    arguments = parser.parse_args(argv)
    if (arguments.split is None) != (arguments.subset is None):
        parser.error("--split and --subset go together")
    return arguments


def predict(arguments: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    from segmentation.batch.folder import FolderError, predict_folder
    from segmentation.batch.inputs import InputError, Shard, find_inputs
    from segmentation.bundle import BundleError, load_bundle
    from segmentation.data.problems import DatasetError
    from segmentation.prediction.engines import EngineError, open_engine, streams_for
    from segmentation.prediction.predictor import open_predictor
    from segmentation.prediction.scale import DiameterError

    try:
        subset = read_subset(arguments.split, arguments.subset) if arguments.split else None
        inputs = find_inputs(arguments.images, subset, ignored=[arguments.output / name for name in FORMATS])
        shard = Shard(*arguments.shard) if arguments.shard else None
        count = len(shard.select(inputs) if shard else inputs)
        bundle = load_bundle(arguments.model)
        predictor = open_predictor(
            bundle,
            open_engine(bundle, arguments.engine, arguments.precision, streams_for(count)),
            arguments.threshold,
            arguments.min_area,
            arguments.diameter,
            arguments.pixel_size,
            arguments.tta,
            arguments.channel,
        )
        outputs = open_outputs(arguments.outputs, bundle)
        with progress(count) as (report, report_block):
            outcomes = predict_folder(
                inputs,
                arguments.output,
                predictor,
                outputs,
                overwrite=arguments.overwrite,
                shard=shard,
                report=report,
                report_block=report_block,
            )
    except (BundleError, DatasetError, DiameterError, EngineError, FolderError, InputError) as error:
        print(f"predict_masks.py: {error}", file=sys.stderr)
        return 2
    return summarise(outcomes, arguments.output, predictor)


def read_subset(split: str, subset: str) -> set[str]:
    """The ids of a subset of a split; DatasetError without such a subset."""
    from segmentation.data.problems import DatasetError
    from segmentation.data.splits import read_split

    rows = read_split(split)
    ids = {identifier for identifier, row in rows.items() if row.subset == subset}
    if not ids:
        subsets = ", ".join(sorted({row.subset for row in rows.values()}))
        raise DatasetError(f"{split} has no subset {subset}, expected one of {subsets}")
    return ids


@contextmanager
def progress(count: int):
    """Show a bar, and one for the blocks of a large image, if standard error is a terminal; say at once what fails."""
    from tqdm import tqdm

    # Images that fail one after another must not hide the bar, and the bar must not cut their sentences.
    with tqdm(total=count, unit="image", disable=None, file=sys.stderr, smoothing=0.1) as bar:
        blocks = None

        def report(outcome) -> None:
            nonlocal blocks
            if blocks is not None:
                blocks.close()
                blocks = None
            if outcome.reason:
                tqdm.write(outcome.reason, file=sys.stderr)
            bar.update()

        def report_block(name: str, done: int, total: int) -> None:
            nonlocal blocks
            if blocks is None:
                options = {"disable": None, "file": sys.stderr, "position": 1, "leave": False}
                blocks = tqdm(desc=name, initial=done - 1, total=total, unit="block", **options)
            blocks.update()

        yield report, report_block


def summarise(outcomes, folder: Path, predictor) -> int:
    """Say on standard output what was done, and on standard error what was not; return the exit status."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    skipped = sum(outcome.status == "skipped" for outcome in outcomes)
    nuclei = sum(outcome.nuclei for outcome in outcomes)
    done = len(outcomes) - len(failed) - skipped
    earlier = f", {skipped} were done before" if skipped else ""
    engine = predictor.engine
    print(
        f"{done} of {len(outcomes)} images done with {engine.name} in {engine.precision}{earlier}, {len(failed)} failed"
    )
    print(f"{nuclei:,} nuclei found")
    print(f"results in {folder}{os.sep}")
    if failed:
        print(f"{len(failed)} of {len(outcomes)} images failed:", file=sys.stderr)
        for outcome in failed:
            print(f"  {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, and leaves the examples as they are."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.default in (None, False, DEFAULT_MODEL):
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(action.default)})"
        return super()._get_help_string(action)


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N with 1 <= I <= N, as in 3/8, got {text!r}")
    return int(number), int(count)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value


def _diameter(text: str) -> float | str | None:
    if text == "auto":
        return text
    return None if text == "none" else _positive(text, "a number of pixels, auto or none")


def _micrometres(text: str) -> float:
    return _positive(text, "a number of micrometres")


def _positive(text: str, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def _area(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of pixels, 0 or more, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

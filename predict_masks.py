"""Find the nuclei in images: masks, label maps, counts and measurements.

examples:
  python predict_masks.py cells.png
      masks, label maps, overlays and tables, in predictions/
  python predict_masks.py scans/*.tif more_scans/ --output results --outputs labels table
      only label maps and tables of many images; the same command again predicts only what is not finished
  python predict_masks.py data/dsb2018 --split data/dsb2018_split.csv --subset test --outputs labels rle
      the test images of the 2018 Data Science Bowl, with run lengths for Kaggle
  python predict_masks.py scans/ --shard 3/8
      every eighth image from the third on: eight such processes share the work, on one machine or on several

exit status: 0: all images are done; 1: some failed, named on standard error and in summary.json, and the others are
done; 2: nothing could be done; 130: interrupted. TensorFlow is not needed: requirements-predict.txt is enough.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from segmentation.batch import arguments as types
from segmentation.command_line import Parser, refuse
from segmentation.paths import released_model
from segmentation.results.formats import FORMATS, open_outputs, result_folders


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = parse_arguments(argv)
    try:
        return predict(options)
    except KeyboardInterrupt:
        print("Interrupted; finished images are kept, and the same command goes on from there.", file=sys.stderr)
        return 130


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported yet, so that --help is instant."""
    parser = Parser(__doc__)
    add = parser.add_argument_group("what to predict").add_argument
    images = "files, globs, OME-Zarr stores (image.zarr), folders, or a data set in the Bowl's layout, folder or zip"
    add("images", nargs="+", metavar="IMAGES", help=images)
    add("--split", metavar="CSV", help="table of ids and subsets; goes with --subset")
    add("--subset", metavar="NAME", help="only images of this subset of the split")
    channel = "which of several channels shows the nuclei: its name, or its number from 1 as in Fiji"
    add("--channel", metavar="NAME|N", help=channel)
    add("--shard", type=types.shard, metavar="I/N", help="only every N-th image, from the I-th on")

    add = parser.add_argument_group("what to write").add_argument
    add("--output", type=Path, default=Path("predictions"), metavar="FOLDER", help="where to")
    formats = ", ".join(f"{name} ({files})" for name, (_, files) in FORMATS.items())
    default = ["masks", "labels", "overlays", "table"]
    add("--outputs", nargs="+", choices=FORMATS, default=default, metavar="NAME", help=f"any of: {formats}")
    add("--overwrite", action="store_true", help="predict finished images again")

    add = parser.add_argument_group("how").add_argument
    model = "a trained model (default: the released one, models/nuclei)"
    add("--model", type=Path, default=released_model(), metavar="FOLDER", help=model)
    add("--threshold", type=types.probability, metavar="P", help="least probability of nuclei (default: the model's)")
    add("--min-area", type=types.area, metavar="PIXELS", help="drop smaller nuclei (default: the model's)")
    diameter = (
        "of the nuclei: images are rescaled so that they have the diameter that the model was trained on; auto: as the "
        "model estimates it for each image; none: images are never rescaled"
    )
    add("--diameter", type=types.diameter, default="auto", metavar="PIXELS|auto|none", help=diameter)
    pixel_size = "side of a pixel in micrometres, whatever the files say; auto starts from nuclei of 10 micrometres"
    add("--pixel-size", type=types.micrometres, metavar="UM", help=pixel_size)
    add("--tta", action="store_true", help="average over 8 flips and turns: slightly more accurate, 8 times as slow")
    add("--engine", choices=("auto", "openvino", "keras"), default="auto", help="keras is for a GPU")
    precision = "of the arithmetic (default: f32, or bf16 if the model was validated with it and the processor gains)"
    add("--precision", choices=("f32", "bf16"), help=precision)
    arguments = parser.parse_args(argv)
    if (arguments.split is None) != (arguments.subset is None):
        parser.error("--split and --subset go together")
    return arguments


def predict(options: argparse.Namespace) -> int:
    """Find the images, open the model, predict the folder, and say what was done; return the exit status."""
    from segmentation.batch.folder import FolderError, predict_folder
    from segmentation.batch.inputs import InputError, find_inputs, read_subset
    from segmentation.batch.progress import Progress, write_line
    from segmentation.bundle import BundleError, load_bundle
    from segmentation.data.problems import DatasetError
    from segmentation.prediction.cores import streams_for
    from segmentation.prediction.engines import EngineError, open_engine
    from segmentation.prediction.predictor import open_predictor
    from segmentation.prediction.scale import DiameterError

    try:
        subset = read_subset(options.split, options.subset) if options.split else None
        inputs = find_inputs(options.images, subset, ignored=result_folders(options.output))
        count = len(options.shard.select(inputs) if options.shard else inputs)
        bundle = load_bundle(options.model)
        engine = open_engine(bundle, options.engine, options.precision, streams_for(count))
        how = options.threshold, options.min_area, options.diameter, options.pixel_size, options.tta, options.channel
        predictor = open_predictor(bundle, engine, *how)
        outputs = open_outputs(options.outputs, bundle)
        with closing(Progress(count)) as progress:
            outcomes = predict_folder(
                inputs,
                options.output,
                predictor,
                outputs,
                overwrite=options.overwrite,
                shard=options.shard,
                report=progress.image,
                report_block=progress.block,
                warn=progress.say,
            )
    except (BundleError, DatasetError, DiameterError, EngineError, FolderError, InputError) as error:
        return refuse("predict_masks.py", error)

    skipped, failed = (sum(outcome.status == status for outcome in outcomes) for status in ("skipped", "failed"))
    images = f"{count:,} {'image' if count == 1 else 'images'}"
    earlier = f", {skipped:,} {'was' if skipped == 1 else 'were'} done before" if skipped else ""
    done = f"{count - skipped - failed:,} of {images} done with {engine.name} in {engine.precision}"
    nuclei = sum(outcome.nuclei for outcome in outcomes)
    found = f"{nuclei:,} {'nucleus' if nuclei == 1 else 'nuclei'} found\nresults in {options.output}{os.sep}"
    write_line(f"{done}{earlier}, {failed:,} failed\n{found}", sys.stdout)
    if failed:
        write_line(f"{failed:,} of {images} failed", sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

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
  python predict_masks.py scans/ --scheduler tcp://host:8786
      the same on the workers of a Dask cluster; docs/cluster.md

exit status: 0: all images are done; 1: some failed, named on standard error and in summary.json, and the others are
done; 2: nothing could be done; 130: interrupted. TensorFlow is not needed: requirements-predict.txt is enough.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

from segmentation.batch.arguments import parse_arguments
from segmentation.command_line import refuse, write_line
from segmentation.results.formats import FORMATS, open_outputs, result_folders


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = parse_arguments(__doc__, FORMATS, argv)
    try:
        return predict(options)
    except KeyboardInterrupt:
        print("Interrupted; finished images are kept, and the same command goes on from there.", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        return refuse("predict_masks.py", error, "requirements-predict.txt")


def predict(options: argparse.Namespace) -> int:
    """Find the images, open the model, predict the folder, and say what was done; return the exit status."""
    from segmentation.batch.folder import FolderError, predict_folder
    from segmentation.batch.inputs import InputError, find_inputs, list_counts, passed_over, read_subset
    from segmentation.batch.progress import Progress
    from segmentation.batch.recipe import Recipe
    from segmentation.bundle import BundleError, load_bundle
    from segmentation.data.problems import DatasetError
    from segmentation.prediction.cores import streams_for
    from segmentation.prediction.engines import EngineError
    from segmentation.prediction.opening import normalisation_of
    from segmentation.prediction.scale import DiameterError

    try:
        subset = read_subset(options.split, options.subset) if options.split else None
        inputs = find_inputs(options.images, subset, result_folders(options.output), options.series)
        others = passed_over(options.images, result_folders(options.output))
        if others:
            advice = "save pictures in other formats as TIFF or OME-Zarr, and name folders within by themselves"
            write_line(f"Passed over: {list_counts(others)}; {advice}", sys.stderr)
        count = len(options.shard.select(inputs) if options.shard else inputs)
        how = "threshold", "min_area", "diameter", "pixel_size_um", "tta", "channel", "min_score", "project"
        how = {name: getattr(options, name) for name in how}
        if options.normalise == "folder":
            from segmentation.batch.shared_limits import shared_limits

            normalisation = normalisation_of(load_bundle(options.model))
            how["limits"] = shared_limits(inputs, normalisation, options.channel, options.project)
        recipe = Recipe(options.model, options.engine, options.precision, how, tuple(options.outputs), open_outputs)
        predictor, outputs = recipe.open(streams_for(count))
        engine = predictor.engine
        with ExitStack() as stack:
            run = None
            if options.scheduler or options.scheduler_file:
                from segmentation.batch.cluster import Cluster

                warn = partial(write_line, stream=sys.stderr)
                run = stack.enter_context(Cluster(options.scheduler, options.scheduler_file, warn))
                elsewhere = replace(recipe, model=options.model.resolve(), precision=engine.precision)
                run.prepare(inputs, options.output, elsewhere, predictor.settings, options.overwrite)
            progress = stack.enter_context(closing(Progress(count)))
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
                passed_over=others,
                run=run,
            )
    except (BundleError, DatasetError, DiameterError, EngineError, FolderError, ImportError, InputError) as error:
        return refuse("predict_masks.py", error, "requirements-predict.txt")

    skipped, failed = (sum(outcome.status == status for outcome in outcomes) for status in ("skipped", "failed"))
    images = f"{count:,} {'image' if count == 1 else 'images'}"
    replaced = sum(outcome.replaced for outcome in outcomes)
    earlier = f", {skipped:,} {'was' if skipped == 1 else 'were'} done before" if skipped else ""
    done = f"{count - skipped - failed:,} of {images} done with {engine.name} in {engine.precision}"
    nuclei = sum(outcome.nuclei for outcome in outcomes)
    found = f"{nuclei:,} {'nucleus' if nuclei == 1 else 'nuclei'} found\nresults in {options.output}{os.sep}"
    write_line(f"{done}{earlier}, {failed:,} failed\n{found}", sys.stdout)
    if replaced:
        write_line(f"for {replaced:,} of them, results of other settings or content were removed", sys.stdout)
    if not predictor.trust:
        command = f"python -m segmentation.training.calibrate {options.model} --only-trust"
        write_line(f"no scores of nuclei: this model has none; {command} fits them", sys.stdout)
    if failed:
        write_line(f"{failed:,} of {images} failed", sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

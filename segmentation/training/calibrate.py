"""Choose the threshold of a model on its validation images, score it, and fit how far to trust its results.

    python -m segmentation.training.calibrate models/nuclei --data dsb2018 --split data/dsb2018_split.csv

`train.py` does this at its end, and validates bf16 as this does. Do it again after the weights or the decoding changed,
or on a processor that computes in bf16 if the model was trained on one that does not. The results are written into
``bundle.json``; the weights stay as they are. With ``--only-trust`` label maps stay as they are, too.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from segmentation.command_line import Parser, refuse
from segmentation.paths import data_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate a model from the command line; return the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--data", required=True, help="what train.py --data took")
    parser.add_argument("--split", type=Path, required=True, metavar="CSV", help="the split.csv of the training")
    only_trust = "fit how far to trust results, and leave the threshold, the scores and the precisions as they are"
    parser.add_argument("--only-trust", action="store_true", help=only_trust)
    args = parser.parse_args(arguments)
    # Imported when the command line is known to be right: these take a second.
    from segmentation.bundle import BundleError, load_bundle, write_bundle
    from segmentation.data.dsb2018 import locate
    from segmentation.data.problems import DatasetError
    from segmentation.data.training_data import load_training_data
    from segmentation.training.calibration import calibrate, describe
    from segmentation.training.trust import describe_trust, with_trust

    try:
        bundle = load_bundle(args.model)
        path = locate(args.data, data_folder())
        data = load_training_data(path, args.split, seed=0, skip_bad=True, cache_folder=data_folder() / "cache")
        if args.only_trust:
            bundle = with_trust(bundle, data.val, data.train)
            write_bundle(bundle)
            said = describe_trust(bundle) + "\n"
        else:
            calibration = calibrate(bundle, data.val, data.train)
            write_bundle(calibration.bundle)
            said = describe(bundle, calibration)
    except (BundleError, DatasetError, OSError) as error:
        return refuse("calibrate", error)
    sys.stdout.write(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())

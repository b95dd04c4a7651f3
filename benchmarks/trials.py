"""What the comparisons of ways to train have in common: train each with every seed, and score all alike.

A trial is a run of `train.py` into a folder of its own, and of `predict_masks.py` on the validation images. What is
finished is not done again; a trial that was cut off goes on where it was if the budget is a number of epochs, and
begins anew if it is a time. All figures are of the images of all seeds together. Intervals draw groups of images that
show one field, and with an image what every seed made of it.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmentation.data.dsb2018 import locate
from segmentation.data.problems import DatasetError
from segmentation.data.splits import read_split, write_split
from segmentation.evaluation.folders import TrueImage, find_predictions, find_truth, score_images
from segmentation.evaluation.intervals import Figure, bootstrap, paired_bootstrap
from segmentation.evaluation.scores import ImageScore
from segmentation.evaluation.subsets import choose_subset

HERE = Path(__file__).resolve().parent.parent
# More than any budget of time allows.
_NO_LIMIT = 100_000


@dataclass(frozen=True)
class Trial:
    """What came of one training.

    Attributes
    ----------
    epochs : int
    scores : list of ImageScore
        Of the validation images, in their order.
    decode_seconds : float
        Spent in telling the nuclei of all of them apart.
    """

    epochs: int
    scores: list[ImageScore]
    decode_seconds: float


@dataclass(frozen=True)
class Comparison:
    """All trials, by the name of what was compared.

    Attributes
    ----------
    images : list of TrueImage
        The validation images, with kind and group.
    megapixels : float
        Of all of them.
    trials : dict of str to list of Trial
        One a seed.
    """

    images: list[TrueImage]
    megapixels: float
    trials: dict[str, list[Trial]]

    @property
    def kinds(self) -> list[str]:
        """The kinds of image among them, ascending."""
        return sorted({image.kind for image in self.images if image.kind})

    def figures(self, name: str, kind: str | None = None) -> dict[str, Figure]:
        """Figures with intervals over all seeds; of the images of one kind, if one is given."""
        return bootstrap(self._scores(name, kind), self._groups(name, kind))

    def differences(self, name: str, reference: str, kind: str | None = None) -> dict[str, Figure]:
        """How much better one is than another on the same images."""
        return paired_bootstrap(self._scores(name, kind), self._scores(reference, kind), self._groups(name, kind))

    def _chosen(self, kind):
        return [index for index, image in enumerate(self.images) if kind in (None, image.kind)]

    def _scores(self, name, kind):
        return [trial.scores[index] for trial in self.trials[name] for index in self._chosen(kind)]

    def _groups(self, name, kind):
        # An image without a group is its own.
        of_images = [self.images[index].group or ("image", self.images[index].id) for index in self._chosen(kind)]
        return of_images * len(self.trials[name])


def new_parser(description: str, minutes: float, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """A parser with the options of all comparisons; the budget is `minutes` unless epochs are given."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", metavar="NAME|FOLDER|ZIP", help="as for train.py (default: sample)")
    parser.add_argument("--split", type=Path, metavar="CSV", help="drawn without it, and the same for all")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for models and label maps")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, default=minutes, metavar="N", help=f"of each training (default: {minutes:g})"
    )
    budget.add_argument(
        "--epochs", type=int, metavar="N", help="of each training, whatever else the machine does meanwhile"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds), metavar="N", help=f"(default: {seeds})")
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="more options of train.py, for every training")
    return parser


def compare(arguments: argparse.Namespace, choices: Mapping[str, Sequence[str]]) -> Comparison:
    """Train and score everything that is to be compared, seed after seed.

    Parameters
    ----------
    arguments : argparse.Namespace
        From a parser of `new_parser`.
    choices : mapping of str to sequence of str
        By name, the options of ``train.py`` that make the difference.

    Raises
    ------
    SystemExit
        With a sentence, if the data cannot be used, a training fails, or the folder holds other trials.
    """
    try:
        data = locate(arguments.data, HERE / "data")
        arguments.work.mkdir(parents=True, exist_ok=True)
        split = arguments.split or _draw_split(data, arguments.work / "split.csv")
        images, _ = choose_subset(find_truth(data), split, "val")
    except (DatasetError, ValueError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    trials = {name: [] for name in choices}
    # Seed by seed, so that a run that is cut off has compared everything a little.
    for seed in arguments.seeds:
        for name, options in choices.items():
            folder = arguments.work / f"{name}-{seed}"
            train(arguments, data, split, [*options, "--seed", seed], folder)
            trials[name].append(predict_and_score(data, split, folder, images))
    return Comparison(images, sum(image.read().size for image in images) / 1e6, trials)


def train(arguments: argparse.Namespace, data: Path, split: Path, options: Sequence, folder: Path) -> None:
    """Train one model into a folder, unless it is there."""
    if arguments.epochs:
        budget = ["--epochs", arguments.epochs]
    else:
        budget = ["--epochs", _NO_LIMIT, "--time-limit", arguments.minutes]
    # No early stop, and no halving of the learning rate: every training has the same schedule.
    command = ["--data", data, "--split", split, *options, *arguments.options, *budget, "--patience", _NO_LIMIT]
    command = [str(part) for part in command]
    record = folder / "trial.json"
    if record.exists() and json.loads(record.read_text()) != command:
        sys.exit(f"{folder} holds a trial with other settings: name another --work, or delete it")
    if (folder / "checkpoint" / "finished").exists():
        return
    resume = []
    if (folder / "checkpoint" / "state.json").exists():
        if arguments.epochs:
            resume = ["--resume"]
        else:
            shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    record.write_text(json.dumps(command))
    print(f"{folder.name}: training", file=sys.stderr)
    call("train.py", *command, "--output", folder, *resume)


def predict_and_score(
    data: Path, split: Path, model: Path, images: Sequence[TrueImage], subset: str = "val", diameter: str = "none"
) -> Trial:
    """Predict the images of a subset, as they are unless told otherwise, and score them."""
    output = model / f"predicted_{subset}"
    options = ["--split", split, "--subset", subset, "--model", model, "--diameter", diameter]
    if not (output / "summary.json").exists():
        call("predict_masks.py", data, *options, "--outputs", "labels", "--output", output)
    with (model / "history.csv").open(newline="") as file:
        epochs = len(list(csv.DictReader(file)))
    return Trial(
        epochs,
        [scored.score for scored in score_images(images, find_predictions(output))],
        json.loads((output / "summary.json").read_text())["seconds"]["decode"],
    )


def cell(figure: Figure, signed: bool = False) -> str:
    """A figure with its interval; a difference, which has a sign, is bold where the interval leaves 0 out."""
    if not signed:
        return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"
    text = f"{figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"
    return f"**{text}**" if figure.low > 0 or figure.high < 0 else text


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print("\n| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def print_heading(arguments: argparse.Namespace, comparison: Comparison) -> None:
    """Say what was compared on what, in a line."""
    budget = f"{arguments.epochs} epochs" if arguments.epochs else f"{arguments.minutes:g} minutes"
    options = f", `{' '.join(arguments.options)}`" if arguments.options else ""
    seeds = f"{len(arguments.seeds)} seed{'s' * (len(arguments.seeds) > 1)}"
    print(f"{len(comparison.images)} validation images, {budget} a training, {seeds}{options}.")


def epochs_of(trials: Sequence[Trial]) -> str:
    """How many epochs the trainings got: one number, or the least and the most."""
    least, most = min(trial.epochs for trial in trials), max(trial.epochs for trial in trials)
    return f"{least}" if least == most else f"{least}-{most}"


def _draw_split(data: Path, file: Path) -> Path:
    """Write the split that all trials share, unless it is there: with none given, each seed would draw its own."""
    if not file.exists():
        from segmentation.data.training_data import load_training_data

        subsets = load_training_data(data, None, seed=0, skip_bad=False, cache_folder=HERE / "data" / "cache")
        write_split(subsets.split, file)
    read_split(file)
    return file


def call(script: str, *arguments) -> None:
    """Run one of our scripts; what it says goes to standard error, so that standard output is the table."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    try:
        code = subprocess.run(command, check=False, stdout=sys.stderr).returncode
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on")
    if code:
        sys.exit(f"{script} ended with exit status {code}; the same command goes on with what is not finished")

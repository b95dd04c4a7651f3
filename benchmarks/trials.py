"""What the comparisons of ways to train have in common: train each with every seed, and score all alike.

A trial is a run of `train.py` into a folder of its own, and of `predict_masks.py` on the validation images. Finished
trials are not repeated. A trial that was cut off is resumed if the budget is a number of epochs, and begins anew if it
is a time. Figures are over the images of all seeds. Intervals draw groups of images that show one field, each image
with its results of all seeds.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from options import HERE

from segmentation.data.dsb2018 import locate
from segmentation.data.problems import DatasetError
from segmentation.data.splits import read_split, write_split
from segmentation.evaluation.folders import TrueImage, choose_subset, find_predictions, find_truth, score_predictions
from segmentation.evaluation.intervals import Interval, bootstrap
from segmentation.evaluation.scores import ImageScore
from segmentation.exploration.wording import quantity

# More than any budget of time allows.
_NO_LIMIT = 100_000


@dataclass(frozen=True)
class Trial:
    """The result of one training: its epochs, the scores of the images in order, and the seconds to decode them."""

    epochs: int
    scores: list[ImageScore]
    decode_seconds: float


@dataclass(frozen=True)
class Comparison:
    """All trials by the name of what was compared, one a seed, on the same images with `megapixels` in all."""

    images: list[TrueImage]
    megapixels: float
    trials: dict[str, list[Trial]]

    def table(self, titles: Mapping[str, str], minus: str | None = None, by_kind: bool = False) -> pd.DataFrame:
        """Tabulate figures with intervals, a row a choice.

        Parameters
        ----------
        titles : mapping of str to str
            Figures of `set_figures`, and the titles of their columns.
        minus : str, optional
            Give the differences from this choice, on the same images, in place of the figures.
        by_kind : bool
            Add the Dice of each kind of image.
        """
        columns = {title: (name, None) for name, title in titles.items()}
        if by_kind:
            columns |= {f"Dice, {kind}": ("dice", kind) for kind in sorted({i.kind for i in self.images if i.kind})}
        kinds = {kind for _, kind in columns.values()}
        rows = {}
        for choice in self.trials:
            if choice != minus:
                figures = {kind: self._figures(choice, minus, kind) for kind in kinds}
                rows[choice] = [cell(figures[kind][name], signed=bool(minus)) for name, kind in columns.values()]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns))
        return table.rename_axis(f"minus {minus}" if minus else "")

    def epochs(self) -> pd.Series:
        """How many epochs the trainings of each choice got: one number, or the least and the most."""
        of_choice = {name: sorted({trial.epochs for trial in trials}) for name, trials in self.trials.items()}
        return pd.Series({n: f"{e[0]}" if len(e) == 1 else f"{e[0]}-{e[-1]}" for n, e in of_choice.items()})

    def _figures(self, choice: str, minus: str | None, kind: str | None) -> dict[str, Interval]:
        chosen = [index for index, image in enumerate(self.images) if kind in (None, image.kind)]
        # An image without a group is its own.
        groups = [self.images[index].group or ("image", self.images[index].id) for index in chosen]
        groups *= len(self.trials[choice])
        scores, reference = (
            [trial.scores[index] for trial in self.trials.get(name, ()) for index in chosen] for name in (choice, minus)
        )
        return bootstrap(scores, groups, minus=reference if minus else None)


def compare(arguments: argparse.Namespace, choices: Mapping[str, Sequence[str]]) -> Comparison:
    """Train and score everything that is to be compared, seed after seed.

    Parameters
    ----------
    arguments : argparse.Namespace
        From a parser of `options.comparison_parser`.
    choices : mapping of str to sequence of str
        Name and options of ``train.py`` of each choice.

    Raises
    ------
    SystemExit
        With a message, if the data cannot be used, a training fails, or the folder holds other trials.
    """
    try:
        data = locate(arguments.data, HERE / "data")
        arguments.work.mkdir(parents=True, exist_ok=True)
        split = arguments.split or _draw_split(data, arguments.work / "split.csv")
        images, _ = choose_subset(find_truth(data), split, "val")
    except (DatasetError, ValueError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    trials = {name: [] for name in choices}
    # Seed by seed, so that a run that is cut off has compared all choices by some seeds.
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
    """Predict and score the images of a subset, by default without rescaling."""
    output = model / f"predicted_{subset}"
    options = ["--split", split, "--subset", subset, "--model", model, "--diameter", diameter]
    if not (output / "summary.json").exists():
        call("predict_masks.py", data, *options, "--outputs", "labels", "--output", output)
    return Trial(
        len(pd.read_csv(model / "history.csv")),
        [scored.score for scored in score_predictions(images, find_predictions(output))],
        json.loads((output / "summary.json").read_text())["seconds"]["decode"],
    )


def cell(figure: Interval, signed: bool = False) -> str:
    """Write a figure with its interval; a difference has a sign and is bold where the interval excludes 0."""
    if not signed:
        return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"
    text = f"{figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"
    return f"**{text}**" if figure.low > 0 or figure.high < 0 else text


def print_table(table: pd.DataFrame) -> None:
    """Print a table with its index in Markdown."""
    rows = table.reset_index(names=table.index.name or "").astype(str)
    lines = [rows.columns, ["---"] * len(rows.columns), *rows.itertuples(index=False)]
    print("\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))


def print_heading(arguments: argparse.Namespace, comparison: Comparison) -> None:
    """Say what was compared on what, in a line."""
    budget = quantity(arguments.epochs, "epoch") if arguments.epochs else f"{arguments.minutes:g} minutes"
    options = f", `{' '.join(arguments.options)}`" if arguments.options else ""
    images, seeds = quantity(len(comparison.images), "validation image"), quantity(len(arguments.seeds), "seed")
    print(f"{images}, {budget} a training, {seeds}{options}.")


def _draw_split(data: Path, file: Path) -> Path:
    """Draw the split that all trials share, unless it is there; without it each seed would draw its own."""
    if not file.exists():
        from segmentation.data.training_data import load_training_data

        subsets = load_training_data(data, None, seed=0, skip_bad=False, cache_folder=HERE / "data" / "cache")
        write_split(subsets.split, file)
    read_split(file)
    return file


def call(script: str, *arguments) -> None:
    """Run one of our scripts, its output on standard error, so that standard output holds the table alone."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    try:
        code = subprocess.run(command, check=False, stdout=sys.stderr).returncode
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command resumes")
    if code:
        sys.exit(f"{script} ended with exit status {code}; the same command resumes")

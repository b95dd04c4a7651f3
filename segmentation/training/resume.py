"""Begin a training in a folder, or resume the one that is there."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from reprlib import repr as short

import pandas as pd

from segmentation.atomic import written_whole
from segmentation.bundle import DESCRIPTION, MODEL_FILES, BundleError, load_bundle, sha256_of
from segmentation.data.dsb2018 import locate
from segmentation.data.training_data import TrainingData, load_training_data
from segmentation.progress import progress_bar
from segmentation.training.config import TrainingConfig
from segmentation.training.errors import TrainingError
from segmentation.training.history import write_history

# Settings that may change on resume.
_MAY_CHANGE = ("epochs", "patience", "workers")
# Settings that a training takes from the model it begins with.
_OF_THE_NETWORK = ("targets", "base_filters", "depth")
# For weights that are good already. With the rate for new weights, eight images would first undo what hundreds taught.
_GENTLE_LEARNING_RATE = 5e-4
#: What a finished training writes into its folder besides the description of the model.
RESULTS = (*MODEL_FILES, "history.csv", "split.csv", "curves.png", "report.html")
# A history of 10,000 epochs has some 5 million.
_LONGEST = 100_000_000  # bytes of a file of settings or state


# What cannot be done without TensorFlow, which converts the network for OpenVINO.
NO_EXPORT = (
    "TensorFlow is not installed: the network will be trained, and its weights kept, but the model that "
    "predict_masks.py takes will not be written; the same command with --resume writes it where TensorFlow is installed"
)


def can_export() -> bool:
    """Tell whether the model of a trained network can be written."""
    return find_spec("tensorflow") is not None


@dataclass(frozen=True)
class Run:
    """A training: its settings, its folder and how far it is.

    The model is written into `folder` at the end; until then all files of the training are in ``checkpoint/`` in it.
    `data`, `split`, `skip_bad` and `init` are as given to ``train.py``; `init_digest` is the digest of that model.
    """

    folder: Path
    data: str = "sample"
    split: str | None = None
    skip_bad: bool = False
    init: str | None = None
    init_digest: str | None = None
    config: TrainingConfig = TrainingConfig()
    resumed: bool = False

    @property
    def checkpoint(self) -> Path:
        """The folder of all that a resumed training needs."""
        return self.folder / "checkpoint"

    @property
    def resumed_from(self) -> dict | None:
        """The state after the last whole epoch of a training to resume, or None."""
        return read_state(self.checkpoint) if self.resumed else None

    @property
    def history(self) -> pd.DataFrame:
        """The metrics of the epochs done, a row for each."""
        state = read_state(self.checkpoint)
        return pd.DataFrame(state["history"] if state else [])

    @property
    def initial_epoch(self) -> int:
        """How many epochs are done; the number of all once early stopping has ended the training."""
        state = self.resumed_from
        if state is None:
            return 0
        waited = state["callbacks"].get("EarlyStopping", {}).get("wait") or 0
        return self.config.epochs if waited >= self.config.patience else state["epochs_done"]

    def load_data(self, folder: Path) -> TrainingData:
        """Decode, check and split the data, or raise `DatasetError`; downloads and the cache are kept in `folder`."""
        with progress_bar("reading", "image") as progress:
            return load_training_data(
                locate(self.data, folder), Path(self.split) if self.split else None, seed=self.config.seed,
                skip_bad=self.skip_bad, cache_folder=folder / "cache", progress=progress,
            )  # fmt: skip

    def begin(self) -> None:
        """Write the settings into the checkpoint, and delete from it what this training does not need.

        Nothing in `folder` changes before.
        """
        if not self.resumed:
            shutil.rmtree(self.checkpoint, ignore_errors=True)
        self.checkpoint.mkdir(parents=True, exist_ok=True)
        settings = {name: value for name, value in asdict(self).items() if name not in ("folder", "resumed")}
        with written_whole(self.checkpoint / "run.json") as part:  # first, as it tells that the checkpoint is ours
            part.write_text(json.dumps(settings, indent=1))
        (self.checkpoint / "finished").unlink(missing_ok=True)
        discard_unfinished(self.checkpoint, self.resumed_from)
        write_history(self.checkpoint / "history.csv", self.history)

    def finish(self) -> None:
        """Note that the model is written."""
        (self.checkpoint / "finished").touch()


def open_run(folder: Path, given: Mapping[str, object], *, resume: bool = False, overwrite: bool = False) -> Run:
    """Read and check the settings of a training in a folder; nothing is written before `Run.begin`.

    `given` are the settings that the user gave: ``data``, ``split``, ``skip_bad``, ``init`` and fields of
    `TrainingConfig`. With `resume`, the others are those that the training began with. With `overwrite`, a finished
    model in the folder is replaced at the end. Raise `TrainingError` if the training cannot begin or be resumed.
    """
    config = {field.name: given[field.name] for field in fields(TrainingConfig) if field.name in given}
    settings = {name: given[name] for name in ("data", "split", "skip_bad", "init") if name in given}
    try:
        return _resumed(folder, settings, config) if resume else _new(folder, settings, config, overwrite)
    except BundleError as error:
        raise TrainingError(f"--init: {error}") from error
    except ValueError as error:  # of TrainingConfig, or our own
        raise TrainingError(str(error)) from error


def _new(folder: Path, settings: dict, config: dict, overwrite: bool) -> Run:
    checkpoint, init = folder / "checkpoint", settings.get("init")
    if (checkpoint / "state.json").exists() and not (checkpoint / "finished").exists():
        raise TrainingError(
            f"{folder} holds an unfinished training: add --resume to resume it, or delete {checkpoint} to begin anew"
        )
    if init and Path(init).resolve() == folder.resolve():
        raise TrainingError(f"--output is the model to begin with, {init}, which would be lost: name another folder")
    if (folder / DESCRIPTION).exists() and not overwrite:
        raise TrainingError(
            f"{folder} holds a finished model: add --overwrite to replace it, or name another folder with --output"
        )
    _refuse_files_of_others(folder)
    if init:
        bundle = load_bundle(init)
        settings["init_digest"] = bundle.digest
        config = _inherited(init, bundle.training.get("config", {}), config)
    return Run(folder, **settings, config=TrainingConfig(**config))


def _refuse_files_of_others(folder: Path) -> None:
    """Raise `TrainingError` if a training would delete or replace what no training wrote."""
    checkpoint = folder / "checkpoint"
    if (checkpoint / "run.json").exists():
        return
    others = [checkpoint] if checkpoint.is_dir() and any(checkpoint.iterdir()) else []
    if not (folder / DESCRIPTION).exists():
        others += [folder / name for name in RESULTS if (folder / name).exists()]
    if others:
        raise TrainingError(
            f"{others[0]} was written by no training, and would be lost: name another folder with --output"
        )


def _inherited(init: str, trained: dict, config: dict) -> dict:
    """Add to the settings what a training takes from the model it begins with, and a gentle learning rate."""
    if not trained.keys() >= set(_OF_THE_NETWORK):
        raise TrainingError(f"--init: {init} does not say how its network is built; train it with train.py")
    for name in _OF_THE_NETWORK:
        if config.get(name, trained[name]) != trained[name]:
            raise TrainingError(
                f"--{name.replace('_', '-')} is {config[name]}, but the model {init} to begin with has "
                f"{trained[name]}: leave one of the two out"
            )
    return {name: trained[name] for name in _OF_THE_NETWORK} | {"learning_rate": _GENTLE_LEARNING_RATE} | config


def _resumed(folder: Path, settings: dict, config: dict) -> Run:
    file = folder / "checkpoint" / "run.json"
    saved = _read_json(file)
    if saved is None:
        raise TrainingError(f"{folder} holds no training to resume; leave out --resume to begin one")
    try:
        run = Run(folder, **saved | {"config": TrainingConfig(**saved["config"])}, resumed=True)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, error) from error
    for name, kind in {"data": str, "split": str | None, "skip_bad": bool, "init": str | None}.items():
        if not isinstance(saved[name], kind):
            raise _damaged(file, f"{name} is {short(saved[name])}")
    for name, value in (config | settings).items():
        began_with = getattr(run.config if name in config else run, name)
        if value != began_with and name not in _MAY_CHANGE:
            raise TrainingError(
                f"--{name.replace('_', '-')} is {value}, but the training in {folder} began with {began_with}: "
                "leave it out to resume, or begin anew in another folder"
            )
    for name, digest in (run.resumed_from or {"files": {}})["files"].items():
        file = run.checkpoint / name
        if not file.is_file() or sha256_of(file) != digest:
            raise _damaged(file, "it is missing or was altered after state.json was written")
    return replace(run, config=replace(run.config, **config))


def describe_data(data: TrainingData) -> str:
    """Say how many images are in which subset, after the problems that do not stop training."""
    aside = len(data.split) - len(data.train) - len(data.val)
    counts = f"{len(data.train)} images to train on, {len(data.val)} to validate on, {aside} kept aside for testing"
    return "\n".join(filter(None, (data.warnings, counts, NO_EXPORT if not can_export() else "")))


def read_state(folder: Path) -> dict | None:
    """Return the state that `segmentation.training.checkpoint.Checkpoint` saved in a folder, or None.

    Raise `TrainingError` if it is damaged.
    """
    state = _read_json(folder / "state.json")
    if state is None:
        return None
    try:
        _check_state(state)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder / "state.json", error) from error
    return state


def _check_state(state: dict) -> None:
    """Raise an error unless the state has the fields and types that `Checkpoint` writes."""
    done, history = state["epochs_done"], state["history"]
    if type(done) is not int or [row["epoch"] for row in history] != list(range(done)):
        raise ValueError(f"{short(done)} epochs are done, and the history holds {len(history)}")
    for row in [*history, *state["callbacks"].values()]:
        for name, value in row.items():
            if not isinstance(value, int | float | None):
                raise ValueError(f"{name} is {short(value)}, expected a number")
    for name, digest in state["files"].items():
        if not (re.fullmatch(r"epoch-\d{5,9}\.npz", name) and isinstance(digest, str)):
            raise ValueError(f"{short(name)} is no file of an epoch")


def _read_json(file: Path) -> dict | None:
    """Return the object in a file, or None if there is no such file; raise `TrainingError` if it is damaged."""
    if not file.exists():
        return None
    if not file.is_file() or file.stat().st_size > _LONGEST:
        raise _damaged(file, "it is no regular file, or too long")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(file, error) from error
    if not isinstance(content, dict):
        raise _damaged(file, f"it holds a {type(content).__name__}")
    return content


def _damaged(file: Path, what: object) -> TrainingError:
    return TrainingError(
        f"{file} cannot be used ({what}), expected what this version of train.py writes: "
        f"restore it, or leave out --resume and name another folder with --output"
    )


def discard_unfinished(folder: Path, state: dict | None) -> None:
    """Delete the weights that a killed training wrote after its last whole state, and those no longer needed."""
    for file in folder.glob("epoch-*.npz"):
        if state is None or file.name not in state["files"]:
            file.unlink()

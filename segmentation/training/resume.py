"""Begin a training in a folder, or go on with the one that is there."""

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from segmentation.bundle import DESCRIPTION, BundleError, load_bundle
from segmentation.training.config import TrainingConfig

# What may differ from the training that is gone on with: how long, and how fast.
_FREE = ("epochs", "patience", "workers")

# A network that begins with another's weights learns the same channels, has its depth, and is at least as wide.
_OF_THE_NETWORK = ("targets", "base_filters", "depth")

# Weights that are good already are changed gently. With the rate for new weights, eight images would first undo what
# hundreds have taught.
_GENTLE_LEARNING_RATE = 5e-4


class StartError(ValueError):
    """A training that cannot be begun or gone on with as asked for; one sentence says why and what to do."""


@dataclass(frozen=True)
class Run:
    """What a training was started with.

    Attributes
    ----------
    data : str
        As given to ``train.py --data``.
    split : str or None
        As given to ``--split``.
    skip_bad : bool
    init : str or None
        Folder of the model whose weights the training begins with.
    init_digest : str or None
        What `segmentation.bundle.Bundle.digest` says of that model.
    config : TrainingConfig
    """

    data: str = "sample"
    split: str | None = None
    skip_bad: bool = False
    init: str | None = None
    init_digest: str | None = None
    config: TrainingConfig = TrainingConfig()


def begin(output: Path, given: dict, resume: bool) -> Run:
    """Write down what a training is started with, or read it if the training is resumed.

    Parameters
    ----------
    output : Path
        Folder of the model.
    given : dict
        The settings that the user gave, by name: ``data``, ``split``, ``skip_bad``, ``init`` and those of
        `TrainingConfig`.
    resume : bool
        Whether to go on with what is in the folder; settings that were not given are then those it began with.

    Returns
    -------
    Run

    Raises
    ------
    StartError
        If there is nothing to resume; if a setting differs from that of the training to resume; if the folder holds an
        unfinished training that is not to be resumed, or a model without its checkpoint; if the model to begin with
        cannot be read, or is of another shape than asked for.
    ValueError
        If a setting is out of its range.
    """
    checkpoint = output / "checkpoint"
    file = checkpoint / "run.json"
    config_given = {name: given[name] for name in _names(TrainingConfig) if name in given}
    run_given = {name: given[name] for name in ("data", "split", "skip_bad", "init") if name in given}
    if not resume:
        if (checkpoint / "state.json").exists() and not (checkpoint / "finished").exists():
            raise StartError(
                f"{output} holds an unfinished training: add --resume to go on with it, "
                f"or delete {checkpoint} to begin anew"
            )
        if (output / DESCRIPTION).exists() and not checkpoint.exists():
            raise StartError(
                f"{output} holds a model without the checkpoint of its training, and it would be lost: "
                "name another folder with --output, or delete that one"
            )
        inherited, digest = {}, None
        if "init" in run_given:
            inherited, digest = _inherit(Path(run_given["init"]), config_given, output)
        run = Run(**run_given, init_digest=digest, config=TrainingConfig(**(inherited | config_given)))
        _forget(checkpoint)
        checkpoint.mkdir(parents=True, exist_ok=True)
    else:
        if not file.exists():
            raise StartError(f"{output} holds no training to resume; leave out --resume to begin one")
        saved = json.loads(file.read_text())
        run = Run(**(saved | {"config": TrainingConfig(**saved["config"])}))
        for name, value in (config_given | run_given).items():
            began_with = getattr(run.config, name) if name in config_given else getattr(run, name)
            if value != began_with and name not in _FREE:
                raise StartError(
                    f"--{name.replace('_', '-')} is {value}, but the training in {output} began with {began_with}: "
                    "leave it out to resume, or begin anew in another folder"
                )
        run = replace(run, config=replace(run.config, **config_given))
        if config_given:
            (checkpoint / "finished").unlink(missing_ok=True)
    partial = checkpoint / ".run.json.part"
    partial.write_text(json.dumps(asdict(run), indent=1))
    os.replace(partial, file)
    return run


def _inherit(model: Path, config_given: dict, output: Path) -> tuple[dict, str]:
    """The settings that a training takes over from the model it begins with, a gentle rate; and the model's digest."""
    if model.resolve() == output.resolve():
        raise StartError(f"--output is the model to begin with, {model}, which would be lost: name another folder")
    try:
        bundle = load_bundle(model)
    except BundleError as error:
        raise StartError(f"--init: {error}") from error
    trained = bundle.training.get("config", {})
    if not trained.keys() >= set(_OF_THE_NETWORK):
        raise StartError(f"--init: {model} does not say how its network is built; train it with train.py")
    inherited = {name: trained[name] for name in _OF_THE_NETWORK}
    for name, value in inherited.items():
        asked = config_given.get(name, value)
        may_be_more = name == "base_filters"
        if asked < value if may_be_more else asked != value:
            what_else = "give at least as many" if may_be_more else "leave one of the two out"
            raise StartError(
                f"--{name.replace('_', '-')} is {asked}, but the model {model} to begin with has {value}: {what_else}"
            )
    return inherited | {"learning_rate": _GENTLE_LEARNING_RATE}, bundle.digest


def finish(output: Path) -> None:
    """Note that the model is written: a later training may take the place of this one."""
    (output / "checkpoint" / "finished").touch()


def _forget(checkpoint: Path) -> None:
    for file in checkpoint.glob("*"):
        file.unlink()


def _names(config_class) -> list[str]:
    return [field.name for field in fields(config_class)]

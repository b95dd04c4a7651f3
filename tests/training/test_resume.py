import hashlib
import json
import shutil
from dataclasses import asdict, replace

import pytest

from segmentation.bundle import MODEL_FILES, Bundle, load_bundle, write_bundle
from segmentation.training.config import TrainingConfig
from segmentation.training.errors import TrainingError
from segmentation.training.resume import Run, open_run


@pytest.fixture
def output(tmp_path):
    return tmp_path / "model"


WEIGHTS = b"weights"
FILES = {"epoch-00001.npz": hashlib.sha256(WEIGHTS).hexdigest()}
STATE = {"epochs_done": 1, "files": FILES, "history": [{"epoch": 0, "val_loss": 2.0}], "callbacks": {}}


def begin(output, given, resume=False, overwrite=False):
    """Open a training and begin it."""
    run = open_run(output, given, resume=resume, overwrite=overwrite)
    run.begin()
    return run


def same(run, other):
    """The same settings, resumed or not."""
    return replace(run, resumed=False) == replace(other, resumed=False)


def with_an_epoch(output, **given):
    """Begin, and pretend that an epoch was finished."""
    run = begin(output, given)
    (output / "checkpoint" / "state.json").write_text(json.dumps(STATE))
    (output / "checkpoint" / "epoch-00001.npz").write_bytes(WEIGHTS)
    return run


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_was_not_given_has_its_default(output):
    assert begin(output, {}) == Run(output) == Run(output, "sample", None, False, None, None, TrainingConfig())


def test_what_was_given_is_taken(output):
    given = {"data": "my_images", "split": "my.csv", "skip_bad": True, "epochs": 7, "loss": "dice", "output": output}
    expected = Run(output, "my_images", "my.csv", True, config=TrainingConfig(epochs=7, loss="dice"))
    assert begin(output, given, resume=False) == expected


def test_resumed_without_settings_it_is_what_it_was(output):
    run = with_an_epoch(output, data="d", skip_bad=True, learning_rate=1e-4, depth=2)
    assert same(begin(output, {}, resume=True), run)
    assert same(begin(output, {"data": "d", "depth": 2}, resume=True), run)


def test_killed_before_the_first_epoch_ended_it_can_be_resumed_or_begun_anew(output):
    run = begin(output, {"data": "d"}, resume=False)
    assert same(begin(output, {}, resume=True), run)
    assert begin(output, {"data": "e"}, resume=False).data == "e"


@pytest.mark.parametrize(("name", "value"), [("epochs", 500), ("patience", 3), ("workers", 1)])
def test_how_long_and_how_fast_may_change(output, name, value):
    with_an_epoch(output, epochs=5)
    for given in ({name: value}, {}):  # and stays changed
        assert getattr(begin(output, given, resume=True).config, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "others"),
        ("split", "others.csv"),
        ("skip_bad", True),
        ("loss", "dice"),
        ("base_filters", 8),
        ("depth", 2),
        ("dropout", 0.3),
        ("batch_size", 2),
        ("crop_size", 64),
        ("learning_rate", 1e-4),
        ("seed", 5),
    ],
)
def test_nothing_else_may_change_on_resuming(output, name, value):
    run = with_an_epoch(output)
    before = run.config.__dict__ | run.__dict__
    with pytest.raises(TrainingError, match=f"^--{name.replace('_', '-')} is {value}, .*began with {before[name]}"):
        begin(output, {name: value}, resume=True)
    assert same(begin(output, {}, resume=True), run)  # nothing was written


def test_nothing_to_resume(output):
    with pytest.raises(TrainingError, match="holds no training to resume; leave out --resume"):
        begin(output, {}, resume=True)
    assert not output.exists()


def test_an_unfinished_training_is_not_overwritten(output):
    run = with_an_epoch(output, data="d")
    with pytest.raises(TrainingError, match="unfinished training: add --resume"):
        begin(output, {"data": "e"}, resume=False)
    assert (output / "checkpoint" / "epoch-00001.npz").exists()
    assert same(begin(output, {}, resume=True), run)


def finished(output, **given):
    """A finished training with its model."""
    run = with_an_epoch(output, **given)
    for name in ("bundle.json", "model.xml", "split.csv", "history.csv"):
        (output / name).write_text("the model")
    run.finish()


def test_a_finished_model_is_replaced_only_if_that_is_asked_for(output):
    finished(output, data="d")
    before = contents(output)
    with pytest.raises(TrainingError, match="finished model: add --overwrite .* or name another folder"):
        open_run(output, {"data": "e"})
    run = open_run(output, {"data": "e"}, overwrite=True)
    assert run == Run(output, "e") and run.initial_epoch == 0
    assert contents(output) == before  # until the data are known to be usable
    run.begin()
    assert [file.name for file in (output / "checkpoint").iterdir()] == ["run.json"]
    # The model stays until there is another.
    for name in ("bundle.json", "model.xml", "split.csv", "history.csv"):
        assert (output / name).read_text() == "the model"


def test_a_training_that_replaces_a_model_can_be_resumed(output):
    finished(output, data="d")
    run = begin(output, {"data": "e"}, overwrite=True)
    (output / "checkpoint" / "state.json").write_text(json.dumps(STATE))
    (output / "checkpoint" / "epoch-00001.npz").write_bytes(WEIGHTS)
    for overwrite in (False, True):
        with pytest.raises(TrainingError, match="unfinished training"):
            open_run(output, {"data": "e"}, overwrite=overwrite)
    assert same(open_run(output, {}, resume=True), run)


def test_a_model_without_its_checkpoint_is_not_overwritten_unasked(output):
    output.mkdir()
    (output / "bundle.json").write_text("{}")
    with pytest.raises(TrainingError, match="model holds a finished model: .*another folder with --out"):
        open_run(output, {})
    assert [file.name for file in output.iterdir()] == ["bundle.json"]


@pytest.mark.parametrize("name", ["split.csv", "report.html", "checkpoint/weights.pt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_are_not_replaced(output, name, overwrite):
    (output / name).parent.mkdir(parents=True)
    (output / name).write_text("precious")
    expected = (
        f"{name.partition('/')[0]} was written by no training, and would be lost: name another folder with --output"
    )
    with pytest.raises(TrainingError, match=expected):
        begin(output, {"data": "d"}, overwrite=overwrite)
    assert contents(output) == {output / name: b"precious"}


def test_a_foreign_checkpoint_beside_a_model_is_not_deleted(output):
    (output / "checkpoint").mkdir(parents=True)
    for name in ("bundle.json", "split.csv", "checkpoint/weights.pt"):
        (output / name).write_text("precious")
    with pytest.raises(TrainingError, match="checkpoint was written by no training"):
        begin(output, {}, overwrite=True)
    (output / "checkpoint" / "weights.pt").unlink()
    begin(output, {}, overwrite=True)


def test_opening_changes_nothing(output):
    with_an_epoch(output, data="d")
    before = contents(output)
    assert open_run(output, {"epochs": 500}, resume=True).config.epochs == 500
    assert contents(output) == before


def test_initial_epoch_follows_the_state_and_early_stopping(output):
    assert with_an_epoch(output).initial_epoch == 0  # not resumed
    assert open_run(output, {}, resume=True).initial_epoch == 1
    (output / "checkpoint" / "state.json").write_text(
        json.dumps(STATE | {"callbacks": {"EarlyStopping": {"wait": 21}}})
    )
    assert open_run(output, {}, resume=True).initial_epoch == 100
    assert open_run(output, {"patience": 22}, resume=True).initial_epoch == 1


def test_a_training_of_other_targets_than_there_are_is_refused_with_a_sentence(output):
    with_an_epoch(output)
    file = output / "checkpoint" / "run.json"
    file.write_text(file.read_text().replace("centre_offsets", "stars"))
    with pytest.raises(TrainingError, match="targets must be one of .*, got 'stars'"):
        open_run(output, {}, resume=True)


DEEP = "[" * 100_000
SETTINGS_OF_ANOTHER_KIND = [
    {"data": 5}, {"data": None}, {"split": ["a"]}, {"skip_bad": "no"}, {"init": 3}, {"stars": 1},
    {"config": None}, {"config": {"epochs": "many"}}, {"config": {"epochs": True}}, {"config": {"stars": 1}},
    {"config": {"learning_rate": float("nan")}}, {"config": {"dropout": None}}, {"config": {"depth": 2.5}},
]  # fmt: skip
STATES_OF_ANOTHER_KIND = [
    {"epochs_done": "1"}, {"epochs_done": 2}, {"epochs_done": True}, {"files": []}, {"files": {"../run.json": "ab"}},
    {"files": {"/etc/passwd": "ab"}}, {"files": {"epoch-00001.npz": 5}}, {"files": {"epoch-00001.npz": "other"}},
    {"history": {}}, {"history": [5]}, {"history": [{"epoch": 3}]}, {"history": [{"epoch": 0, "val_loss": "low"}]},
    {"history": [{"epoch": 0, "val_loss": [1]}]}, {"callbacks": None}, {"callbacks": {"EarlyStopping": 5}},
    {"callbacks": {"EarlyStopping": {"wait": "long"}}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, text) for name in ("run.json", "state.json") for text in ("", "{", "null", "[1]", DEEP, "\xff", "{}")),
        *(("run.json", changes) for changes in SETTINGS_OF_ANOTHER_KIND),
        *(("state.json", changes) for changes in STATES_OF_ANOTHER_KIND),
        ("epoch-00001.npz", "altered"),
        ("epoch-00001.npz", None),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_a_sentence_and_kept(output, name, content):
    with_an_epoch(output)
    file = output / "checkpoint" / name
    if content is None:
        file.unlink()
    elif isinstance(content, str):
        file.write_bytes(content.encode("latin-1"))
    else:
        file.write_text(json.dumps(json.loads(file.read_text()) | content))
    before = contents(output)
    with pytest.raises(TrainingError, match="checkpoint.*leave out --resume") as refused:
        run = open_run(output, {}, resume=True)
        assert run.initial_epoch < 2
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    assert contents(output) == before


def test_a_finished_training_can_be_gone_on_with(output):
    finished(output, epochs=5)
    assert begin(output, {"epochs": 9}, resume=True).config.epochs == 9
    with pytest.raises(TrainingError, match="unfinished"):
        begin(output, {}, resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_settings_out_of_range_change_nothing(output, resume):
    with_an_epoch(output).finish()
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        begin(output, {"epochs": 0}, resume=resume)
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before


def test_record_is_whole_or_the_old_one(output, monkeypatch):
    with_an_epoch(output)

    def fails(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("segmentation.atomic.os.replace", fails)
    with pytest.raises(KeyboardInterrupt):
        begin(output, {"epochs": 9}, resume=True)
    assert json.loads((output / "checkpoint" / "run.json").read_text())["config"]["epochs"] == 100


@pytest.fixture
def trained(tmp_path):
    """A model to begin with; its files hold nothing that `begin` looks at."""
    folder = tmp_path / "trained"
    folder.mkdir()
    for name in MODEL_FILES:
        (folder / name).write_bytes(name.encode())
    config = asdict(TrainingConfig(base_filters=24, depth=3, crop_size=96, dropout=0.3, learning_rate=1e-2))
    write_bundle(
        Bundle(
            folder=folder,
            targets="centre_offsets",
            channels=("foreground", "row_offset", "column_offset", "log_radius"),
            normalisation={},
            diameter=20.0,
            receptive_field_radius=50,
            divisor=8,
            thresholds={"foreground": 0.5},
            min_area=5,
            precisions={"f32": {}},
            training={"config": config},
            scores={},
        )
    )
    return folder


def test_a_training_that_begins_with_a_model_has_its_network_and_changes_it_gently(output, trained):
    run = begin(output, {"data": "d", "init": str(trained)}, resume=False)
    defaults = TrainingConfig()
    assert (run.config.targets, run.config.base_filters, run.config.depth) == ("centre_offsets", 24, 3)
    assert run.config.crop_size == defaults.crop_size and run.config.dropout == defaults.dropout
    assert run.config.learning_rate < defaults.learning_rate
    assert run.init_digest == load_bundle(trained).digest
    shutil.rmtree(trained)  # what it is gone on with stands in the checkpoint
    assert same(begin(output, {}, resume=True), run)


def test_what_is_given_counts_more_than_what_a_model_was_trained_with(output, trained):
    given = {"init": str(trained), "learning_rate": 3e-3, "depth": 3, "dropout": 0.2}
    config = begin(output, given, resume=False).config
    assert (config.learning_rate, config.depth, config.dropout) == (3e-3, 3, 0.2)


@pytest.mark.parametrize(("name", "value"), [("base_filters", 16), ("base_filters", 32), ("depth", 4)])
def test_a_network_of_another_shape_cannot_begin_with_a_model(output, trained, name, value):
    with pytest.raises(TrainingError, match=f"--{name.replace('_', '-')} is {value}, but the model .*trained"):
        begin(output, {"init": str(trained), name: value}, resume=False)
    assert not output.exists()


def test_a_model_to_begin_with_must_be_whole(output, trained):
    (trained / "model.bin").write_bytes(b"altered")
    with pytest.raises(TrainingError, match="--init: .*model.bin was altered"):
        begin(output, {"init": str(trained)}, resume=False)
    with pytest.raises(TrainingError, match="--init: .*nowhere") as refused:
        begin(output, {"init": str(trained.parent / "nowhere")}, resume=False)
    assert "--model" not in str(refused.value)  # which train.py has not
    assert not output.exists()


def test_the_model_to_begin_with_is_not_overwritten(trained):
    with pytest.raises(TrainingError, match="would be lost: name another folder"):
        begin(trained, {"init": str(trained)}, resume=False)
    assert not (trained / "checkpoint").exists()

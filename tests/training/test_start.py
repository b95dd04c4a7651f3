import json

import pytest

from segmentation.training.config import TrainingConfig
from segmentation.training.start import Run, StartError, begin, finish


@pytest.fixture
def output(tmp_path):
    return tmp_path / "model"


def with_an_epoch(output, **given):
    """Begin, and pretend that an epoch was finished."""
    run = begin(output, given, resume=False)
    (output / "checkpoint" / "state.json").write_text("{}")
    (output / "checkpoint" / "epoch-00001.weights.h5").write_bytes(b"weights")
    return run


def test_what_was_not_given_has_its_default(output):
    assert begin(output, {}, resume=False) == Run() == Run("sample", None, False, TrainingConfig())


def test_what_was_given_is_taken(output):
    given = {"data": "my_images", "split": "my.csv", "skip_bad": True, "epochs": 7, "loss": "dice", "output": output}
    expected = Run("my_images", "my.csv", True, TrainingConfig(epochs=7, loss="dice"))
    assert begin(output, given, resume=False) == expected


def test_resumed_without_settings_it_is_what_it_was(output):
    run = with_an_epoch(output, data="d", skip_bad=True, learning_rate=1e-4, depth=2)
    assert begin(output, {}, resume=True) == run
    assert begin(output, {"data": "d", "depth": 2}, resume=True) == run


def test_killed_before_the_first_epoch_ended_it_can_be_resumed_or_begun_anew(output):
    run = begin(output, {"data": "d"}, resume=False)
    assert begin(output, {}, resume=True) == run
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
    with pytest.raises(StartError, match=f"^--{name.replace('_', '-')} is {value}, .*began with {before[name]}"):
        begin(output, {name: value}, resume=True)
    assert begin(output, {}, resume=True) == run  # nothing was written


def test_nothing_to_resume(output):
    with pytest.raises(StartError, match="holds no training to resume; leave out --resume"):
        begin(output, {}, resume=True)
    assert not output.exists()


def test_an_unfinished_training_is_not_overwritten(output):
    run = with_an_epoch(output, data="d")
    with pytest.raises(StartError, match="unfinished training: add --resume"):
        begin(output, {"data": "e"}, resume=False)
    assert (output / "checkpoint" / "epoch-00001.weights.h5").exists()
    assert begin(output, {}, resume=True) == run


def test_a_finished_training_is_replaced(output):
    with_an_epoch(output, data="d")
    finish(output)
    (output / "model.xml").write_text("the model")
    assert begin(output, {"data": "e"}, resume=False) == Run("e")
    assert [file.name for file in (output / "checkpoint").iterdir()] == ["run.json"]
    # The model stays until there is another.
    assert (output / "model.xml").exists()


def test_a_finished_training_can_be_gone_on_with(output):
    with_an_epoch(output, epochs=5)
    finish(output)
    assert begin(output, {"epochs": 9}, resume=True).config.epochs == 9
    with pytest.raises(StartError, match="unfinished"):
        begin(output, {}, resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_settings_out_of_range_change_nothing(output, resume):
    with_an_epoch(output)
    finish(output)
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        begin(output, {"epochs": 0}, resume=resume)
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before


def test_record_is_whole_or_the_old_one(output, monkeypatch):
    with_an_epoch(output)

    def fails(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("segmentation.training.start.os.replace", fails)
    with pytest.raises(KeyboardInterrupt):
        begin(output, {"epochs": 9}, resume=True)
    assert json.loads((output / "checkpoint" / "run.json").read_text())["config"]["epochs"] == 100

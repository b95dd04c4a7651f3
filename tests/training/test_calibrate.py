import pytest

from segmentation.bundle import load_bundle
from segmentation.data.splits import SplitRow, write_split
from segmentation.training import calibrate as module

pytestmark = pytest.mark.slow


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Call the command; return its status, and what it said on standard output and standard error."""
    monkeypatch.setattr(module, "data_folder", lambda: tmp_path)  # for the cache

    def call(*arguments):
        return module.main(list(map(str, arguments))), *capsys.readouterr()

    return call


def test_the_command_writes_what_it_chose(bright_bundle, tmp_path, write_drawn, call):
    write_drawn(tmp_path / "data", 4)
    ids = [f"drawn_{number:02d}" for number in range(4)]
    write_split({i: SplitRow("val" if n else "train") for n, i in enumerate(ids)}, tmp_path / "split.csv")
    options = ["--data", tmp_path / "data", "--split", tmp_path / "split.csv"]
    status, output, errors = call(bright_bundle.folder, *options)
    assert status == 0, errors
    written = load_bundle(bright_bundle.folder)
    assert f"threshold of the foreground: {written.thresholds['foreground']:g} (was 0.5)" in output
    assert written.scores["images"] == 3 and written.files == bright_bundle.files
    assert f"dice     {written.scores['figures']['dice']['value']:.4f}" in output

    status, _, errors = call(tmp_path / "nowhere", *options)
    assert status == 2 and errors.startswith("calibrate: ") and str(tmp_path / "nowhere") in errors


def test_a_model_that_cannot_be_written_is_named_and_stays(bright_bundle, tmp_path, write_drawn, call, monkeypatch):
    write_drawn(tmp_path / "data", 2)
    write_split({"drawn_00": SplitRow("train"), "drawn_01": SplitRow("val")}, tmp_path / "split.csv")
    description = (bright_bundle.folder / "bundle.json").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device", "bundle.json")

    monkeypatch.setattr("segmentation.atomic.os.replace", full)
    for options in ([], ["--only-trust"]):
        status, output, errors = call(
            bright_bundle.folder, "--data", tmp_path / "data", "--split", tmp_path / "split.csv", *options
        )
        assert (status, output) == (2, "") and "calibrate: [Errno 28] No space left on device" in errors
    assert (bright_bundle.folder / "bundle.json").read_bytes() == description

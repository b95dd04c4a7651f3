"""`train.py` as people run it: a process of its own, killed and resumed; what it refuses, in this process."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import segmentation
import train
from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.bundle import load_bundle
from segmentation.data.splits import read_split
from segmentation.network import target_losses
from segmentation.training import checkpoint
from segmentation.training.callbacks import Stopwatch
from segmentation.training.resume import RESULTS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]
INIT_SETTINGS = "--crop-size 64 --batch-size 2 --seed 1".split()
SETTINGS = [*INIT_SETTINGS, *"--base-filters 4 --depth 2 --dropout 0.2".split()]
PROMISED = {
    "bundle.json",
    "model.keras",
    "model.xml",
    "model.bin",
    "history.csv",
    "curves.png",
    "report.html",
    "split.csv",
}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A copy of the script, in whose folder it keeps its caches; nothing is written into the repository."""
    return shutil.copy(REPOSITORY / "train.py", tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def start(script):
    """Start train.py with arguments; return the process."""

    def start(*arguments):
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            cwd=Path(script).parent,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def finish(start):
    """Run train.py in a process of its own; return (status, what it printed, what it complained of)."""

    def finish(*arguments, timeout=300):
        process = start(*arguments)
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return process.returncode, output, errors

    return finish


@pytest.fixture
def run(tmp_path_factory, monkeypatch, capsys):
    """Run train.py in this process; return (status, what it printed, what it complained of)."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(train, "data_folder", lambda: home)  # for the cache
    monkeypatch.setattr(sys, "argv", ["train.py"])  # the name in argparse's messages

    def run(*arguments):
        try:
            status = train.main(list(map(str, arguments)))
        except SystemExit as end:  # argparse
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight drawn images of 96 x 96 pixels."""
    folder = tmp_path_factory.mktemp("data") / "my_nuclei"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(8):
        rng = np.random.default_rng(number)
        pixels, labels = (draw_stained if number % 3 == 2 else draw_fluorescence)(rng, (96, 96))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), labels)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, finish, data):
    """The folder and the output of a training of six epochs."""
    folder = tmp_path_factory.mktemp("models") / "undisturbed"
    status, output, errors = finish("--data", data, "--output", folder, "--epochs", 6, *SETTINGS)
    assert status == 0, errors
    return folder, output


def wait_for_epoch(process, folder, epochs, of=6):
    """Wait until so many epochs are saved of a training of so many; fail if the process ends before."""
    run, state = (folder / "checkpoint" / name for name in ("run.json", "state.json"))
    deadline = time.monotonic() + 240

    def reached():
        try:
            ours = json.loads(run.read_text())["config"]["epochs"] == of
            return ours and json.loads(state.read_text())["epochs_done"] >= epochs
        except FileNotFoundError:
            return False

    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory, start, finish, data):
    """The same training, killed twice, terminated once, each time gone on with."""
    folder = tmp_path_factory.mktemp("models") / "disturbed"
    record = {"folder": folder, "killed": []}
    arguments = ["--data", data, "--output", folder, "--epochs", 6, *SETTINGS]
    for epochs in (1, 2):
        process = start(*arguments)
        wait_for_epoch(process, folder, epochs)
        process.kill()
        process.communicate()
        record["killed"].append((process.returncode, json.loads((folder / "checkpoint/state.json").read_text())))
        arguments = ["--output", folder, "--resume"]
    record["unfinished"] = shutil.copytree(folder, folder.with_name("unfinished"))
    process = start(*arguments)
    wait_for_epoch(process, folder, record["killed"][-1][1]["epochs_done"] + 1)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    record["terminated"] = process.returncode, output, errors
    record["after"] = finish(*arguments)
    return record


def history_of(folder):
    with open(folder / "history.csv", newline="") as table:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(table)]


def one_sentence(errors):
    """What was complained of, without argparse's reminder of the usage; no traceback."""
    assert "Traceback" not in errors
    sentence = errors[errors.index("train.py: ") :].strip()
    return sentence


@pytest.mark.slow
def test_all_that_is_promised_is_there(undisturbed):
    folder, _ = undisturbed
    assert {file.name for file in folder.iterdir()} == PROMISED | {"checkpoint"}
    assert PROMISED == {*RESULTS, "bundle.json"}, "what of others is refused"
    bundle = load_bundle(folder)
    assert bundle.divisor == 4 and bundle.training["data"] == "my_nuclei"
    assert bundle.training["epochs"] == 6
    assert len(read_split(folder / "split.csv")) == 8
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_epochs_are_in_the_history(undisturbed):
    history = history_of(undisturbed[0])
    assert [row["epoch"] for row in history] == list(range(6))
    assert history[-1]["loss"] < history[0]["loss"]
    assert {"loss", "val_loss", "crop_dice", "val_crop_dice", "crop_iou", "val_crop_iou", "learning_rate"} <= history[
        0
    ].keys()


@pytest.mark.slow
def test_it_says_how_it_went_and_what_comes_next(undisturbed):
    folder, output = undisturbed
    assert "images to train on" in output and "6 epochs in" in output and "validation Dice" in output
    assert "predict_masks.py" in output and str(folder) in output


@pytest.mark.slow
def test_the_next_command_works_as_it_is_printed(tmp_path, undisturbed, script, data):
    """Without an environment that is activated, and from another folder."""
    _, output = undisturbed
    shutil.copy(REPOSITORY / "predict_masks.py", Path(script).parent)
    command = output.split("next:")[1].strip().replace("IMAGES", str(data / "images" / "0.png"))
    ran = subprocess.run(
        f"{command} --output {tmp_path / 'masks'} --outputs masks",
        shell=True,
        cwd=Path(script).parent,
        env={"PATH": "/nowhere", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "masks").rglob("0.png"))) == 1


@pytest.mark.slow
def test_killed_twice_and_terminated_it_is_the_same_training(disturbed, undisturbed):
    (first, early), (second, late) = disturbed["killed"]
    assert first == second == -signal.SIGKILL
    assert 1 <= early["epochs_done"] < late["epochs_done"] <= 5
    status, _, errors = disturbed["after"]
    assert status == 0, errors
    assert PROMISED <= {file.name for file in disturbed["folder"].iterdir()}
    ours, theirs = history_of(disturbed["folder"]), history_of(undisturbed[0])
    assert [row["epoch"] for row in ours] == [row["epoch"] for row in theirs] == list(range(6))
    seconds = sum(row["seconds"] for row in ours)
    assert load_bundle(disturbed["folder"]).training["minutes"] == round(seconds / 60, 1), "those before a kill, too"
    for name in ("learning_rate", "learning_rate_used"):
        assert [row[name] for row in ours] == [row[name] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(disturbed):
    status, output, errors = disturbed["terminated"]
    assert status == 143
    assert f"python train.py --output {disturbed['folder']} --resume" in output
    assert "Traceback" not in errors


@pytest.mark.slow
def test_an_unfinished_training_is_not_overwritten(disturbed, run, data):
    status, _, errors = run("--data", data, "--output", disturbed["unfinished"], *SETTINGS)
    assert status == 2 and "add --resume" in one_sentence(errors)


@pytest.mark.slow
def test_a_resumed_training_keeps_its_settings(disturbed, run):
    status, _, errors = run("--output", disturbed["unfinished"], "--resume", "--learning-rate", "0.5")
    assert status == 2 and "--learning-rate is 0.5, but" in one_sentence(errors)


@pytest.mark.slow
def test_a_training_begins_where_another_model_stands(tmp_path, undisturbed, run, data):
    # Such a rate changes nothing: what is validated is the model that was begun with.
    settings = ["--learning-rate", 1e-9, "--epochs", 1, "--dropout", 0, *INIT_SETTINGS]
    status, _, errors = run("--data", data, "--init", undisturbed[0], "--output", tmp_path / "m", *settings)
    assert status == 0, errors
    best = min(row["val_loss"] for row in history_of(undisturbed[0]))
    assert history_of(tmp_path / "m")[0]["val_loss"] == pytest.approx(best, rel=0.05)
    trained = load_bundle(undisturbed[0])
    assert load_bundle(tmp_path / "m").training["init"] == {"model": "undisturbed", "digest": trained.digest}
    assert trained.training["init"] is None


@pytest.mark.slow
def test_a_training_goes_on_without_the_model_that_it_began_with(tmp_path, undisturbed, run, data):
    model = shutil.copytree(undisturbed[0], tmp_path / "to_begin_with")
    begun = run("--data", data, "--init", model, "--output", tmp_path / "m", "--epochs", 1, *INIT_SETTINGS)
    assert begun[0] == 0, begun[2]
    shutil.rmtree(model)
    status, _, errors = run("--output", tmp_path / "m", "--resume", "--epochs", 2)
    assert status == 0, errors
    assert len(history_of(tmp_path / "m")) == 2


@pytest.mark.slow
def test_time_limit_ends_it_with_a_model(tmp_path, run, data):
    limit = ["--time-limit", 0.45, "--epochs", 10_000]  # 25 seconds of it are kept for the end
    status, _, errors = run("--data", data, "--output", tmp_path / "m", *limit, *SETTINGS)
    assert status == 0, errors
    assert PROMISED <= {file.name for file in (tmp_path / "m").iterdir()}
    assert 1 <= len(history_of(tmp_path / "m")) < 10_000


def children_of(process):
    """The numbers of the processes that draw the crops of a training."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "spawn_main" in line]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ps") is None, reason="finds the processes with ps")
@pytest.mark.parametrize("how", ["a process killed", "Ctrl-C"])
def test_with_processes_it_ends_cleanly_and_goes_on(tmp_path, start, run, data, how):
    folder = tmp_path / "m"
    process = start("--data", data, "--output", folder, "--epochs", 500, "--workers", 2, *SETTINGS)
    wait_for_epoch(process, folder, 1, of=500)
    children = children_of(process)
    assert len(children) == 2
    for number in children[1:] if how == "a process killed" else [*children, process.pid]:
        os.kill(number, signal.SIGKILL if how == "a process killed" else signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    if how == "a process killed":
        assert process.returncode == 2 and "has ended with SIGKILL" in one_sentence(errors)
    else:
        assert process.returncode == 130 and errors == ""
    assert not any(Path(f"/proc/{number}").exists() for number in children)
    done = json.loads((folder / "checkpoint/state.json").read_text())["epochs_done"]
    assert run("--output", folder, "--resume", "--epochs", done + 1)[0] == 0


@pytest.mark.parametrize("where", ["load_data", "begin"])
def test_interrupted_before_the_first_step_it_says_so(tmp_path, run, data, monkeypatch, where):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"segmentation.training.resume.Run.{where}", interrupted)
    status, output, errors = run("--data", data, "--output", tmp_path / "m", *SETTINGS)
    assert status == 130 and "stopped by SIGINT; begin again with:" in output and "Traceback" not in errors


@pytest.mark.slow
def test_another_loss_is_no_resumed_training(tmp_path, run, data, monkeypatch):
    assert run("--data", data, "--output", tmp_path / "m", "--epochs", 1, *SETTINGS)[0] == 0
    described = json.loads((tmp_path / "m/bundle.json").read_text())["training"]["loss"]
    assert described["class"] == "TargetLoss" and described["foreground"] == "bce_dice"

    class Mine(target_losses.TargetLoss):
        pass

    monkeypatch.setattr(target_losses, "TargetLoss", Mine)
    status, _, errors = run("--output", tmp_path / "m", "--resume", "--epochs", 2)
    assert status == 2 and "'Mine'" in one_sentence(errors) and "began with" in errors and "'TargetLoss'" in errors


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def other_network(model, folder):
    """A model whose description tells of another network than its file holds."""
    shutil.copytree(model, folder)
    description = json.loads((folder / "bundle.json").read_text())
    description["training"]["config"]["base_filters"] = 5
    (folder / "bundle.json").write_text(json.dumps(description))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data", "{data}"], "holds a finished model: add --overwrite to replace it"),
        (["--data", "{tmp}/typo"], "add --overwrite"),
        (["--data", "{tmp}/typo", "--overwrite"], "typo: no such folder or zip"),
        (["--data", "{data}", "--overwrite", "--split", "{split}"], "line 3: the subset is 'validate'"),
        (["--data", "{data}", "--overwrite", "--crop-size", "63"], "crop_size must be a multiple of 16"),
        (["--data", "{data}", "--overwrite", "--init", "{other}", "--crop-size", "64"], "built in another way"),
        (["--resume", "--epochs", "0"], "epochs must be at least 1"),
        (["--resume", "--overwrite"], "not allowed with argument"),
    ],
)
def test_until_all_is_checked_a_finished_model_stays_as_it_is(tmp_path, run, data, undisturbed, arguments, expected):
    folder = shutil.copytree(undisturbed[0], tmp_path / "finished")
    names = {"tmp": tmp_path, "data": data, "split": bad_split(tmp_path)}
    names["other"] = other_network(folder, tmp_path / "other")
    before = contents(folder)
    status, _, errors = run(*[text.format(**names) for text in arguments], "--output", folder)
    assert status == 2 and expected in one_sentence(errors)
    assert contents(folder) == before


@pytest.mark.slow
def test_a_finished_model_is_replaced_at_the_end_if_that_is_asked_for(tmp_path, start, run, data, undisturbed):
    folder = shutil.copytree(undisturbed[0], tmp_path / "finished")
    model = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    process = start("--data", data, "--output", folder, "--overwrite", "--epochs", 4, *SETTINGS)
    wait_for_epoch(process, folder, 1, of=4)
    process.kill()
    process.communicate()
    # In the middle of the training the old model is whole, with its own history and split.
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == model
    load_bundle(folder)
    status, _, errors = run("--output", folder, "--resume")
    assert status == 0, errors
    assert load_bundle(folder).training["epochs"] == len(history_of(folder)) == 4
    assert load_bundle(folder).files != load_bundle(undisturbed[0]).files


def bad_split(folder):
    (folder / "split.csv").write_text("id,subset\n0,train\n1,validate\n")
    return folder / "split.csv"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data", "{tmp}/nowhere"], "nowhere: no such folder or zip"),
        (["--data", "{tmp}"], "no data set found"),
        (["--data", "{data}", "--split", "{split}"], "split.csv, line 3: the subset is 'validate'"),
        (["--data", "{data}", "--split", "{tmp}/missing.csv"], "missing.csv: cannot be read as a split"),
        (["--data", "{data}", "--crop-size", "100", "--depth", "3"], "crop_size must be a multiple of 8"),
        (["--data", "{data}", "--loss", "mse"], "argument --loss: invalid choice: 'mse'"),
        (["--data", "{data}", "--epochs", "0"], "epochs must be at least 1"),
        (["--data", "{data}", "--seed", "-1"], "seed must be at least 0"),
        (["--data", "{data}", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--data", "{data}", "--time-limit", "0"], "argument --time-limit: expected minutes above 0"),
        (["--resume"], "holds no training to resume"),
        (["--data", "{data}", "--init", "{tmp}/nowhere"], "--init: There is no model folder"),
        (["--data", "{data}", "--batchsize", "2"], "did you mean --batch-size?"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(tmp_path, run, data, arguments, expected):
    (tmp_path / "empty").mkdir()
    names = {"tmp": tmp_path / "empty", "data": data, "split": bad_split(tmp_path)}
    status, output, errors = run(*[text.format(**names) for text in arguments], "--output", tmp_path / "model")
    assert status == 2
    assert expected in one_sentence(errors)
    assert "--model" not in errors, "which train.py has not"
    assert not (tmp_path / "model").exists()


LIMITED = """
import resource, sys, train
from segmentation.training import checkpoint

def limit(model, run, prepare=checkpoint.prepare_model):
    prepare(model, run)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)

sys.argv[0], checkpoint.prepare_model = "train.py", limit
sys.exit(train.main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 20_000, 110_000], ids=["settings", "first checkpoint", "model"])
def test_no_more_space_ends_a_training_with_a_sentence_and_loses_nothing(tmp_path, script, data, size):
    """A limit on the size of files, as the system sets it, stands for the full disk."""
    folder = tmp_path / "m"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes" / "mine.txt").write_text("the user's")
    code = [sys.executable, "-c", LIMITED, size, "--data", data, "--output", folder, "--epochs", 2, *SETTINGS]
    ran = subprocess.run(
        [*map(str, code)],
        cwd=Path(script).parent,  # from where the copy of train.py is imported
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 2, (ran.returncode, ran.stderr)
    assert "File too large" in one_sentence(ran.stderr) and "free space" in ran.stderr
    assert (folder / "notes" / "mine.txt").read_text() == "the user's"
    assert (folder / "checkpoint" / "state.json").exists() == (size > 100_000)
    assert not list(folder.rglob("*.part*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_cannot_be_written_while_training_is_said_and_resumed(tmp_path, run, data, monkeypatch, number):
    save = checkpoint.np.savez

    def fails(file, *arrays):
        if Path(file).parent.joinpath("epoch-00001.npz").exists():
            raise OSError(number, os.strerror(number), str(file))
        save(file, *arrays)

    monkeypatch.setattr(checkpoint.np, "savez", fails)
    given = ["--data", data, "--output", tmp_path / "m", "--epochs", 2, *SETTINGS]
    status, _, errors = run(*given)
    assert status == 2 and os.strerror(number) in one_sentence(errors) and "--resume" in errors
    monkeypatch.undo()
    assert json.loads((tmp_path / "m/checkpoint/state.json").read_text())["epochs_done"] == 1
    assert len(list((tmp_path / "m/checkpoint").glob("*.npz"))) == 1


@pytest.mark.slow
def test_an_output_that_vanishes_is_said(tmp_path, run, data, monkeypatch):
    class Vanish(Stopwatch):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            shutil.rmtree(tmp_path / "m")

    monkeypatch.setattr("segmentation.training.callbacks.Stopwatch", Vanish)
    status, _, errors = run("--data", data, "--output", tmp_path / "m", "--epochs", 2, *SETTINGS)
    assert status == 2 and "No such file or directory" in one_sentence(errors) and str(tmp_path / "m") in errors


def test_an_output_that_cannot_be_made_is_said(tmp_path, run, data):
    (tmp_path / "file").write_text("the user's")
    for output in (tmp_path / "file", tmp_path / "file" / "m", tmp_path / ("long" * 100)):
        status, _, errors = run("--data", data, "--output", output, *SETTINGS)
        assert status == 2 and str(output) in one_sentence(errors)
    assert (tmp_path / "file").read_text() == "the user's"


@pytest.mark.parametrize("option", ["--data", "--output", "--split", "--init"])
def test_a_name_that_is_not_utf_8_is_refused(tmp_path, run, data, option):
    given = {"--data": data, "--output": tmp_path / "m"} | {option: os.fsdecode(b"caf\xe9")}
    status, _, errors = run(*[text for pair in given.items() for text in pair])
    assert status == 2 and f"argument {option}: b'caf\\xe9' is not UTF-8" in " ".join(one_sentence(errors).split())


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_before_anything_is_read(disturbed, run):
    for name in ("state.json", "run.json", "epoch-*.npz"):
        folder = shutil.copytree(disturbed["unfinished"], disturbed["folder"].with_name(f"damaged_{name[:3]}"))
        file = next((folder / "checkpoint").glob(name))
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        before = contents(folder)
        status, _, errors = run("--output", folder, "--resume")
        assert status == 2 and f"{file} cannot be used" in one_sentence(errors)
        assert contents(folder) == before


def test_version(run):
    status, output, _ = run("--version")
    assert status == 0 and output.strip() == f"nuclei-segmentation {segmentation.__version__}"


def test_help_is_quick():
    """It must not cost the import of Keras, nor of anything else that takes a while."""
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train.py', '--help']\n"
        "try:\n"
        "    runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    heavy = {"numpy", "scipy", "cv2", "skimage", "keras", "tensorflow", "albumentations", "openvino", "matplotlib"}
    assert "argparse" in ran.stderr and not heavy & set(ran.stderr.split())
    for flag in (
        "--data",
        "--split",
        "--resume",
        "--time-limit",
        "--loss",
        "--tensorboard",
        "--skip-bad",
        "--overwrite",
    ):
        assert flag in ran.stdout
    assert "(default: 0.002)" in " ".join(ran.stdout.split())


def test_a_package_that_is_missing_is_named(monkeypatch, capsys, data, tmp_path):
    monkeypatch.setitem(sys.modules, "segmentation.training.resume", None)
    assert train.main(["--data", str(data), "--output", str(tmp_path / "out")]) == 2
    assert "or run: pip install -r requirements.txt, or" in capsys.readouterr().err

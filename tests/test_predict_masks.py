import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

import predict_masks
import segmentation
from segmentation.data.label_maps import read_label_map
from segmentation.data.run_lengths import decode_run_lengths
from tests.prediction.tiny_model import write_tiny_bundle
from tests.prediction.trusting import TRUST

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
# The only output that needs more than requirements-predict.txt.
WITHOUT_PANDAS = [name for name in predict_masks.FORMATS if name != "parquet"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_bundle(folder)
    return folder


def picture(seed, side=48):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 30, (side, side), dtype=np.uint8)
    for row, column in rng.integers(0, side - 9, (1 + seed % 3, 2)):
        image[row : row + 9, column : column + 9] = 200
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(4):
        (folder / f"cell{seed}.png").write_bytes(picture(seed))
    return folder


def call(*arguments, cwd=ROOT, before="pass"):
    """Run the script in a process of its own, where neither Keras nor what only training takes can be imported."""
    blocked = ["tensorflow", "keras", "albumentations", "matplotlib", "skimage", "pandas", "pooch", "PIL"]
    code = (
        f"import runpy, sys; sys.modules |= dict.fromkeys({blocked}); sys.argv = {list(map(str, ['x', *arguments]))}; "
        f"{before}; runpy.run_path({str(ROOT / 'predict_masks.py')!r}, run_name='__main__')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_all_outputs_agree(images, model, tmp_path):
    out = tmp_path / "out"
    result = call(images, "--model", model, "--output", out, "--outputs", *WITHOUT_PANDAS)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "", "standard error is no terminal here: no progress bar"
    assert "4 of 4 images done" in result.stdout
    assert len(result.stdout.splitlines()) < 10
    nuclei = list(csv.DictReader((out / "nuclei.csv").open()))
    submission = list(csv.DictReader((out / "submission.csv").open()))
    for seed in range(4):
        name = f"cell{seed}"
        labels = read_label_map(out / "labels" / f"{name}.tif")
        assert labels.max() > 0
        np.testing.assert_array_equal(read_label_map(out / "masks" / f"{name}.png"), (labels > 0) * 255)
        assert cv2.imread(str(out / "overlays" / f"{name}.png")).shape == (48, 48, 3)
        probabilities = read_label_map(out / "probabilities" / f"{name}.tif")
        np.testing.assert_array_equal(probabilities > 127, labels > 0)
        areas = [int(row["area"]) for row in nuclei if row["image"] == name]
        assert areas == np.bincount(labels.ravel())[1:].tolist()
        runs = [row["EncodedPixels"] for row in submission if row["ImageId"] == name]
        assert [len(decode_run_lengths(text, labels.shape)) for text in runs] == areas
        with zipfile.ZipFile(out / "rois" / f"{name}.zip") as archive:
            assert archive.namelist() == [f"{label}.roi" for label in range(1, len(areas) + 1)]
        features = json.loads((out / "geojson" / f"{name}.geojson").read_text())["features"]
        assert [feature["properties"]["measurements"]["area"] for feature in features] == areas
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["precision"] == "f32"
    assert summary["libraries"].keys() >= {"openvino", "numpy"}


def test_threshold_and_min_area_are_heeded_and_recorded(images, model, tmp_path):
    outputs = []

    def areas(*options):
        result = call(images, "--model", model, "--output", tmp_path / "out", "--outputs", "labels", *options)
        assert result.returncode == 0, result.stderr
        outputs.append(result.stdout)
        labels = [read_label_map(file) for file in sorted((tmp_path / "out" / "labels").iterdir())]
        return np.concatenate([np.bincount(label_map.ravel())[1:] for label_map in labels])

    assert areas("--threshold", 0.2).sum() > areas("--threshold", 0.9).sum()
    smallest = areas().min()
    assert areas("--min-area", smallest + 1).min() > smallest
    settings = json.loads((tmp_path / "out" / "summary.json").read_text())["settings"]
    assert settings["min_area"] == smallest + 1
    said = ["for 4 of them, results of other settings or content were removed" in text for text in outputs]
    assert said == [False, True, True, True]


def test_a_bad_image_is_named_once_and_the_status_is_1(images, model, tmp_path):
    (images / "bad.png").write_bytes(picture(1)[:100])
    result = call(images, "--model", model, "--output", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr.count("bad.png") == 1, "at once; at the end only how many there are"
    assert result.stderr.endswith("\n1 of 5 images failed\n")
    assert "Traceback" not in result.stderr
    assert "4 of 5 images done" in result.stdout
    again = call(images, "--model", model, "--output", tmp_path / "out")
    assert again.returncode == 1
    assert "0 of 5 images done" in again.stdout
    assert "4 were done before" in again.stdout


def test_the_test_subset_of_a_zip(model, tmp_path):
    with zipfile.ZipFile(tmp_path / "bowl.zip", "w") as archive:
        for seed in range(4):
            archive.writestr(f"id{seed}/images/id{seed}.png", picture(seed))
            archive.writestr(f"id{seed}/masks/m.png", picture(seed))
    (tmp_path / "split.csv").write_text("id,subset\nid0,train\nid1,test\nid2,val\nid3,test\n")
    arguments = (tmp_path / "bowl.zip", "--model", model, "--split", tmp_path / "split.csv", "--subset")
    result = call(*arguments, "test", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert sorted(file.name for file in (tmp_path / "predictions" / "masks").iterdir()) == ["id1.png", "id3.png"]
    result = call(*arguments, "testing", cwd=tmp_path)
    assert result.returncode == 2
    assert "no subset testing" in result.stderr


def test_what_is_written_into_the_folder_of_the_images_is_not_read_again(images, model):
    (images / "notes.txt").write_text("mine")
    for pattern in (images / "**" / "*.png", images / "**" / "*.png", images, images / "*"):
        result = call(pattern, "--model", model, "--output", images)
        assert "of 4 images done" in result.stdout, result.stderr
        assert result.stderr[:25] in ("", "Passed over: 1 .txt; save"), "the tables are ours"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.png"], "no file or folder missing.png"),
        (["{images}", "--model", "missing"], "train one with train.py"),
        (["{images}", "--output", "{images}/cell0.png"], "cannot be written to"),
        (["{images}/../empty"], "no images"),
        (["{images}", "{images}/../empty"], "no images"),
        (["{images}", "--split", "a.csv"], "--split and --subset go together"),
        (["{images}", "--split", "missing.csv", "--subset", "test"], "missing.csv"),
        (["{images}", "--threshold", "50"], "between 0 and 1"),
        (["{images}", "--min-area", "-1"], "0 or more"),
        (["{images}", "--shard", "4/3"], "1 <= I <= N"),
        (["{images}", "--engine", "keras"], "pip install -r requirements.txt"),
        ([], "IMAGES"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_2(images, model, tmp_path, arguments, sentence):
    (tmp_path / "empty").mkdir()
    arguments = [argument.format(images=images) for argument in arguments]
    if "--model" not in arguments:
        arguments += ["--model", model]
    result = call(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    if "usage:" not in result.stderr:
        assert len(result.stderr.splitlines()) == 1


def test_an_altered_model_is_refused(images, tmp_path):
    write_tiny_bundle(tmp_path / "altered")
    with (tmp_path / "altered" / "model.bin").open("ab") as stream:
        stream.write(b"\0")
    result = call(images, "--model", tmp_path / "altered", "--output", tmp_path / "out")
    assert result.returncode == 2
    assert "model.bin was altered" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_an_interrupt_ends_cleanly_and_the_next_call_goes_on(model, tmp_path):
    (tmp_path / "in").mkdir()
    content = picture(0, 160)
    for number in range(2000):  # more than can be done before a test that waits for a core sends its signal
        (tmp_path / "in" / f"{number:04}.png").write_bytes(content)
    arguments = [tmp_path / "in", "--model", model, "--output", tmp_path / "out", "--outputs", "masks"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "predict_masks.py", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((tmp_path / "out").glob("masks/[0-9]*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output == ""
    assert re.fullmatch("Interrupted; .*\n", errors)
    finished = len(list((tmp_path / "out" / ".records").glob("[0-9]*.json")))
    assert 0 < finished < 2000
    assert len(list((tmp_path / "out" / "masks").iterdir())) == finished
    again = call(*arguments)
    assert f"{2000 - finished:,} of 2,000 images done" in again.stdout
    assert f"{finished:,} were done before" in again.stdout


def test_a_package_that_is_missing_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "segmentation.batch.folder", None)
    assert predict_masks.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("predict_masks.py: the package segmentation.batch.folder is not ")


def test_help_imports_nothing_that_takes_time():
    code = (
        "import sys, predict_masks\n"
        "try: predict_masks.main(['--help'])\n"
        "finally: sys.stderr.write(str({'numpy', 'openvino', 'cv2', 'tqdm', 'tifffile', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stderr == "set()"
    for option in ("--output", "--outputs", "--model", "--threshold", "--shard", "(default: predictions)", "examples:"):
        assert option in result.stdout
    assert str(ROOT) not in result.stdout


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        predict_masks.main(["--version"])
    assert ended.value.code == 0
    assert segmentation.__version__ in capsys.readouterr().out


def test_one_is_one(images, model, tmp_path, capsys):
    """The counts that are printed; and a call on one image keeps the rows of the others."""
    options = ["--model", str(model), "--output", str(tmp_path / "out"), "--outputs", "table"]
    assert predict_masks.main([str(images), *options]) == 0
    rows = (tmp_path / "out" / "nuclei.csv").read_text()
    capsys.readouterr()
    assert predict_masks.main([str(images / "cell0.png"), *options]) == 0
    assert capsys.readouterr().out.startswith("0 of 1 image done with openvino in f32, 1 was done before, 0 failed")
    assert (tmp_path / "out" / "nuclei.csv").read_text() == rows
    assert len(list(csv.DictReader((tmp_path / "out" / "images.csv").open()))) == 4
    assert predict_masks.main([str(images / "cell0.png"), *options, "--threshold", "0.4"]) == 0
    assert re.match(r"3 results in .*out not covered by nuclei.csv, images.csv: made with", capsys.readouterr().err)


def test_what_takes_long_to_import_is_not_imported_for_an_image(images, model, tmp_path):
    """The first mask is on disk within a second or so; SciPy alone would take half of one."""
    slow = ["scipy", "zarr", "jinja2"]
    result = call(
        *(images / "cell0.png", "--model", model, "--output", tmp_path / "out"),
        before=f"sys.modules |= dict.fromkeys({slow})",
    )
    assert result.returncode == 0, result.stderr


def test_requirements_predict_suffice(images, model, tmp_path):
    """With all that is installed besides them out of reach, every output but Parquet can be written."""
    allowed = set()
    left = re.findall(r"^[a-z][a-z0-9-]*", (ROOT / "requirements-predict.txt").read_text(), re.MULTILINE)
    assert not set(left) & {"tensorflow", "keras", "albumentations", "matplotlib"}
    while left:
        name = left.pop().lower()
        if name not in allowed:
            allowed.add(name)
            with contextlib.suppress(metadata.PackageNotFoundError):  # needed on other systems
                needs = [text for text in metadata.requires(name) or () if "extra ==" not in text]
                left += [re.match(r"[\w.-]+", text)[0] for text in needs]
    blocked = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not {owner.lower() for owner in owners} & allowed
    ]
    assert {"keras", "pytest"} <= set(blocked)
    result = call(
        *(images, "--model", model, "--output", tmp_path / "out", "--outputs", *WITHOUT_PANDAS),
        before=f"sys.modules |= dict.fromkeys({blocked})",
    )
    assert result.returncode == 0, result.stderr


def test_requirements_include_those_of_prediction():
    assert "-r requirements-predict.txt" in (ROOT / "requirements.txt").read_text().splitlines()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("end", ["full", "closed"])
def test_nobody_reads_what_is_printed(images, model, tmp_path, stream, end):
    (images / "bad.png").write_bytes(b"")
    command = [sys.executable, ROOT / "predict_masks.py", images, "--model", model, "--output", tmp_path / "out"]
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") if end == "full" else open(writer, "w") as nowhere:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: nowhere}
        result = subprocess.run(command, cwd=ROOT, text=True, check=False, **streams)
    assert result.returncode == 1, "one image failed"
    assert "Traceback" not in f"{result.stdout}{result.stderr}" and "Exception" not in f"{result.stdout}{result.stderr}"
    assert (tmp_path / "out" / "nuclei.csv").exists() and (tmp_path / "out" / "summary.json").exists()


def test_the_images_of_a_data_set_are_found_where_its_folder_is_the_output(images, model):
    data = images.parent / "data"
    data.mkdir()
    images.rename(data / "images")
    result = call(data, "--output", data, "--model", model, "--outputs", "labels")
    assert result.returncode == 0, result.stderr
    assert len(list((data / "labels").iterdir())) == 4


@pytest.mark.parametrize("name", ["nuclei.csv", "summary.json"])
def test_files_that_no_prediction_wrote_are_not_replaced(images, model, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("precious")
    result = call(images, "--output", tmp_path / "out", "--model", model, "--outputs", "table")
    assert result.returncode == 2 and f"{name} was written by no prediction" in result.stderr
    assert (tmp_path / "out" / name).read_text() == "precious"


def rows_of(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_scores_and_verdicts_are_in_all_results(tmp_path, images):
    write_tiny_bundle(tmp_path / "trusted", trust=TRUST)
    how = [images, "--model", tmp_path / "trusted", "--output", tmp_path / "out"]
    outputs = ["--outputs", "table", "labels", "rois", "geojson"]
    assert call(*how, *outputs).returncode == 0
    nuclei, rows = rows_of(tmp_path / "out" / "nuclei.csv"), rows_of(tmp_path / "out" / "images.csv")
    assert nuclei and all(0 < float(row["score"]) < 1 for row in nuclei)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    for row in rows:
        verdict = summary["verdicts"][row["image"]]
        assert [row["expected_dice"], row["expected_ap50"]] == [str(verdict["dice"]), str(verdict["ap50"])]
        assert row["unlike"] == verdict["unlike"]
        own = [nucleus for nucleus in nuclei if nucleus["image"] == row["image"]]
        with zipfile.ZipFile(tmp_path / "out" / "rois" / f"{row['image']}.zip") as archive:
            assert archive.namelist() == [f"{n['label']} score {float(n['score']):.2f}.roi" for n in own]
        detections = json.loads((tmp_path / "out" / "geojson" / f"{row['image']}.geojson").read_text())["features"]
        measured = {one["properties"]["name"]: one["properties"]["measurements"]["score"] for one in detections}
        assert measured == {nucleus["label"]: float(nucleus["score"]) for nucleus in own}

    # A second call that does nothing says the same of the images.
    assert call(*how, *outputs).returncode == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["verdicts"] == summary["verdicts"]

    least = max(float(row["score"]) for row in nuclei)
    assert call(*how, *outputs, "--min-score", least).returncode == 0
    kept = rows_of(tmp_path / "out" / "nuclei.csv")
    assert [row["score"] for row in kept] == [row["score"] for row in nuclei if float(row["score"]) >= least]


def test_a_model_without_coefficients_gives_no_scores_and_says_so(tmp_path, images, model):
    how = [images, "--model", model, "--output", tmp_path / "out"]
    done = call(*how, "--outputs", "table")
    assert done.returncode == 0 and "no scores of nuclei" in done.stdout
    assert "score" not in rows_of(tmp_path / "out" / "nuclei.csv")[0]
    refused = call(*how, "--min-score", "0.5")
    assert refused.returncode == 2 and "gives no scores" in refused.stderr

"""nuclei.parquet holds what nuclei.csv does, and can be read while it grows."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile

from segmentation.batch import joining
from segmentation.batch.folder import FolderError, predict_folder
from segmentation.batch.inputs import Shard, find_inputs
from segmentation.results import images_csv, nuclei_csv, nuclei_parquet
from tests.batch.test_folder import draw, make_predictor

OUTPUTS = {"table": nuclei_csv.OUTPUT, "parquet": nuclei_parquet.OUTPUT, "images": images_csv.OUTPUT}


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "PARTITION", 4)
    (tmp_path / "in").mkdir()
    for seed in range(11):
        draw(tmp_path / "in" / f"cell{seed}.png", seed)
    return tmp_path / "in"


def go(images, out, threshold=0.5, outputs=OUTPUTS, **options):
    return predict_folder(find_inputs([str(images)]), out, make_predictor(threshold), outputs, **options)


def partitions(out):
    return {file.name: file.read_bytes() for file in sorted((out / "nuclei.parquet").iterdir())}


def check(out):
    """The same values as in the CSV, whose reader is another one."""
    found = pd.read_parquet(out / "nuclei.parquet")
    expected = pd.read_csv(out / "nuclei.csv", dtype={"image": "str"}, keep_default_na=False, na_values=[""])
    assert list(found.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert (found["label"].dtype, found["touches_edge"].dtype) == (np.int64, bool)


def test_it_holds_what_the_csv_holds_in_partitions(images, tmp_path):
    draw(images / "NA.png", 3)
    (images / "cell5.png").write_bytes(b"")
    go(images, tmp_path / "out")
    check(tmp_path / "out")
    assert list(partitions(tmp_path / "out")) == [f"part-0000{number}.parquet" for number in range(3)]
    assert "NA" in set(pd.read_parquet(tmp_path / "out" / "nuclei.parquet")["image"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images_in_tables"] == {"nuclei.csv": 11, "nuclei.parquet": 11, "images.csv": 11}


def test_partitions_are_there_while_it_grows_and_are_not_written_again(images, tmp_path):
    grown = {}

    def look(outcome):
        folder = tmp_path / "out" / "nuclei.parquet"
        if folder.exists():
            table = pd.read_parquet(folder)
            grown.update({len(table["image"].unique()): {file.name: file.stat().st_ino for file in folder.iterdir()}})

    go(images, tmp_path / "out", report=look)
    assert list(grown) == [4, 8, 11]
    last = {file.name: file.stat().st_ino for file in (tmp_path / "out" / "nuclei.parquet").iterdir()}
    assert last.items() >= grown[4].items()
    check(tmp_path / "out")


def test_a_partition_that_cannot_be_written_is_one_sentence_and_the_images_are_kept(images, tmp_path):
    out = tmp_path / "out"

    def take_its_place(outcome):
        if not out.joinpath("nuclei.parquet").exists():
            out.joinpath("nuclei.parquet").touch()

    with pytest.raises(FolderError, match=r"cannot be written to the output folder .*File exists\); the images"):
        go(images, out, report=take_its_place)
    go(images, out)
    check(out)


def test_a_second_call_shards_and_other_settings_leave_the_same_partitions(images, tmp_path):
    go(images, tmp_path / "out")
    expected = partitions(tmp_path / "out")
    assert {outcome.status for outcome in go(images, tmp_path / "out")} == {"skipped"}
    assert partitions(tmp_path / "out") == expected
    go(images / "cell3.png", tmp_path / "out")
    assert partitions(tmp_path / "out") == expected
    for number in (2, 1):
        go(images, tmp_path / "shards", shard=Shard(number, 2))
    assert partitions(tmp_path / "shards") == expected
    go(images / "cell3.png", tmp_path / "out", threshold=0.4, outputs={"images": images_csv.OUTPUT})
    assert not (tmp_path / "out" / "nuclei.parquet").exists(), "it is of other settings"
    go(images, tmp_path / "out", threshold=0.4)
    assert len(partitions(tmp_path / "out")) == 3


def test_all_partitions_have_the_columns_of_all_images(images, tmp_path):
    pixels = np.zeros((2, 40, 48), np.uint8)
    pixels[:, 5:12, 5:12] = 200
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(images / "zebra.tif", pixels, photometric="minisblack", ome=True, metadata=names)
    inputs = find_inputs([str(images)])
    predict_folder(inputs, tmp_path / "out", replace(make_predictor(), channel="1"), OUTPUTS)
    check(tmp_path / "out")
    first = pd.read_parquet(tmp_path / "out" / "nuclei.parquet" / "part-00000.parquet")
    assert first["mean_intensity_GFP"].isna().all()


def test_no_nuclei_at_all(images, tmp_path):
    go(images, tmp_path / "out", threshold=2)
    assert len(pd.read_parquet(tmp_path / "out" / "nuclei.parquet")) == 0


def test_a_missing_library_is_one_sentence():
    code = "import sys; sys.modules['pyarrow'] = None; import segmentation.results.nuclei_parquet"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.strip().endswith(
        "ImportError: --outputs parquet needs pyarrow, which is not installed; run: pip install -r "
        "requirements/parquet.txt"
    )

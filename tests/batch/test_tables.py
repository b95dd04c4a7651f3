"""Tables and pages cover every result of the present settings that lies in the folder, whatever a call names."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from segmentation.batch import tables
from segmentation.batch.folder import predict_folder
from segmentation.batch.inputs import Shard, find_inputs
from segmentation.batch.joining import write_table
from segmentation.batch.outputs import TableOutput
from segmentation.batch.records import natural_order
from tests.batch.test_folder import OUTPUTS, contents, draw, go, make_predictor, statuses

IMAGES = TableOutput(
    "images.csv",
    ("image", "nuclei", "reason"),
    lambda p: [(p.name, p.nuclei, "")],
    failed_row=lambda name, file, reason: (name, "", reason),
)
BOTH = OUTPUTS | {"images": IMAGES}


@pytest.fixture
def images(tmp_path):
    (tmp_path / "in").mkdir()
    for seed in (1, 2, 3, 10):
        draw(tmp_path / "in" / f"cell{seed}.png", seed)
    return tmp_path / "in"


def call(arguments, out, threshold=0.5, outputs=BOTH, **options):
    """Predict, and return the outcomes and what was said."""
    said = []
    inputs = find_inputs([str(argument) for argument in arguments])
    outcomes = predict_folder(inputs, out, make_predictor(threshold), outputs, warn=said.append, **options)
    return outcomes, said


def rows(out, table="nuclei.csv"):
    with (out / table).open() as stream:
        return list(csv.DictReader(stream))


def covered(out, table="images.csv"):
    return [row["image"] for row in rows(out, table)]


def test_a_call_on_one_image_keeps_the_rows_of_the_others(images, tmp_path):
    out = tmp_path / "out"
    call([images], out)
    before = contents(out)
    assert covered(out) == ["cell1", "cell2", "cell3", "cell10"], "natural order"
    outcomes, said = call([images / "cell3.png"], out)
    assert statuses(outcomes) == ["skipped"] and said == []
    assert contents(out) == before
    draw(images / "cell4.png", 4)
    outcomes, said = call([images / "cell4.png"], out)
    assert statuses(outcomes) == ["done"] and said == []
    assert covered(out) == ["cell1", "cell2", "cell3", "cell4", "cell10"]
    assert {row["image"] for row in rows(out)} == set(covered(out))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"]["all"] == 1, "the summary is about the call"
    assert summary["images_in_tables"] == {"nuclei.csv": 5, "images.csv": 5}
    assert summary["version"] and summary["tables"] == ["nuclei.csv", "images.csv"]


def test_a_table_never_mixes_settings(images, tmp_path):
    out = tmp_path / "out"
    call([images], out)
    _, said = call([images / "cell3.png"], out, threshold=0.4)
    assert covered(out) == ["cell3"]
    (sentence,) = said
    assert sentence.startswith(f"3 results in {out} not covered by nuclei.csv, images.csv: made with other settings")
    call([images], out, threshold=0.4)
    assert len(covered(out)) == 4


def test_results_without_rows_are_said_and_added_by_the_next_call(images, tmp_path):
    out = tmp_path / "out"
    call([images], out, outputs={"masks": OUTPUTS["masks"]})
    _, said = call([images / "cell1.png"], out)
    assert covered(out) == ["cell1"] and said[0].startswith("3 results in ")
    outcomes, said = call([images], out)
    assert sorted(statuses(outcomes)) == ["done"] * 3 + ["skipped"] and said == []
    assert len(covered(out)) == 4


def test_results_that_were_deleted_are_not_in_the_tables_and_those_of_deleted_images_are(images, tmp_path):
    out = tmp_path / "out"
    call([images], out)
    for output in ("masks", "labels"):
        (out / output / "cell2.png").unlink()
    (out / "masks" / "cell10.png").unlink()
    (images / "cell3.png").unlink()
    _, said = call([images / "cell1.png"], out)
    assert covered(out) == ["cell1", "cell3"]
    assert said[0].startswith("1 result in "), "nothing is left of cell2, and part of cell10"


def test_images_without_nuclei_and_failed_ones_have_a_row(images, tmp_path):
    out = tmp_path / "out"
    (images / "cell9.png").write_bytes(b"")
    call([images], out, threshold=2)
    found = rows(out, "images.csv")
    assert [row["image"] for row in found] == ["cell1", "cell2", "cell3", "cell9", "cell10"]
    assert [row["nuclei"] for row in found] == ["0", "0", "0", "", "0"]
    assert "cell9.png is empty (0 bytes)" in found[3]["reason"]
    assert rows(out) == []
    call([images / "cell1.png"], out, threshold=2)
    assert "cell9" not in covered(out), "failures are those of the call"


def test_the_table_has_the_columns_of_all_images(images, tmp_path):
    further = {"cell2": ("DAPI", "a,b"), "cell3": ("GFP", "DAPI")}

    def table(names):
        return TableOutput(
            "nuclei.csv",
            ("image", "label"),
            lambda p: [(p.name, 1, *(f"{p.name} {column}" for column in names.get(p.name, ())))],
            further_columns=lambda p: names.get(p.name, ()),
        )

    call([images], tmp_path / "out", outputs={"table": table(further)})
    lines = (tmp_path / "out" / "nuclei.csv").read_text().splitlines()
    assert lines == [
        'image,label,DAPI,"a,b",GFP',
        "cell1,1,,,",
        'cell2,1,cell2 DAPI,"cell2 a,b",',
        "cell3,1,cell3 DAPI,,cell3 GFP",
        "cell10,1,,,",
    ]


def test_shards_list_the_failures_of_all(images, tmp_path):
    (images / "cell2.png").write_bytes(b"")
    for number in (1, 2):
        call([images], tmp_path / "out", shard=Shard(number, 2))
    assert covered(tmp_path / "out") == ["cell1", "cell2", "cell3", "cell10"]
    assert "is empty" in rows(tmp_path / "out", "images.csv")[1]["reason"]
    call([images], tmp_path / "whole")
    assert (tmp_path / "out" / "images.csv").read_text() == (tmp_path / "whole" / "images.csv").read_text()


def test_a_table_that_is_not_asked_for_goes_when_what_it_tells_is_replaced(images, tmp_path):
    out = tmp_path / "out"
    masks = {"masks": OUTPUTS["masks"]}
    call([images], out)
    for _ in range(2):
        call([images], out, outputs=masks)
        assert len(covered(out)) == 4, "it is as true as before"
    draw(images / "cell3.png", 33)
    call([images], out, outputs=masks)
    assert not (out / "nuclei.csv").exists() and not (out / "images.csv").exists()
    call([images], out)
    call([images], out, outputs=masks)
    call([images], out, outputs=masks, threshold=0.4)
    assert not (out / "nuclei.csv").exists(), "the last call but one did not write it, and yet it is remembered"


def test_rows_that_an_older_version_kept_without_a_header_are_made_again(images, tmp_path):
    out = tmp_path / "out"
    go(images, out)
    for file in (out / ".records").glob("cell*.json"):
        record = json.loads(file.read_text())
        old = f".records/{record['name']}.nuclei.csv"
        (out / old).write_text("")
        file.write_text(json.dumps(record | {"files": record["files"] | {"table": {old: 0}}}))
    before = (out / "nuclei.csv").read_text()
    assert set(statuses(go(images, out))) == {"done"}
    assert (out / "nuclei.csv").read_text() == before
    assert not list((out / ".records").glob("*.nuclei.csv"))


def test_natural_order():
    names = ["b", "a10", "A2", "a", "a2b", "", "7", "10", "a2", "é1", "a02"]
    assert sorted(names, key=natural_order) == ["", "7", "10", "a", "A2", "a02", "a2", "a2b", "a10", "b", "é1"]
    rng = np.random.default_rng(0)
    assert [int(name[4:]) for name in sorted((f"cell{n}" for n in rng.permutation(99)), key=natural_order)] == list(
        range(99)
    )


def test_a_full_disk_at_the_end_leaves_no_half_table(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    call([images], out)
    before = contents(out)

    def breaks(name, file, reason):
        raise OSError(28, "No space left on device")

    (images / "cell99.png").write_bytes(b"")
    with pytest.raises(ValueError, match="No space left"):
        call([images], out, outputs=BOTH | {"images": replace(IMAGES, failed_row=breaks)})
    assert not (out / "images.csv").exists() and not (out / "summary.json").exists()
    (images / "cell99.png").unlink()
    call([images], out)
    assert contents(out) == before


def test_a_call_ends_while_another_one_goes_on(images, tmp_path, monkeypatch):
    written, records = [], tmp_path / "out" / ".records"

    def write_while_another_finishes_an_image(*arguments):
        write_table(*arguments)
        written.append(arguments[1].file)
        if len(written) < 20:
            shutil.copy(records / "cell1.json", records / f"another{len(written)}.json")

    monkeypatch.setattr(tables, "write_table", write_while_another_finishes_an_image)
    call([images], tmp_path / "out")
    assert written == ["nuclei.csv", "images.csv"], "the other writes them at its end"


def test_a_call_that_ends_while_another_one_writes_the_tables_is_in_them(images, tmp_path, monkeypatch):
    out, ended = tmp_path / "out", []

    def write_after_another_has_ended(*arguments):
        if not ended:
            ended.append(True)
            call([images / "cell10.png"], out)
        write_table(*arguments)

    monkeypatch.setattr(tables, "write_table", write_after_another_has_ended)
    call([images / "cell1.png"], out)
    assert covered(out) == ["cell1", "cell10"]
    assert json.loads((out / "summary.json").read_text())["images"]["all"] == 1

import pytest

from segmentation.batch.records import RECORDS, Record, Records


@pytest.fixture
def folder(tmp_path):
    for name in (RECORDS, "masks", "labels"):
        (tmp_path / name).mkdir()
    return tmp_path


def record(folder, **changes):
    for name in ("masks/a.png", "labels/a.tif"):
        (folder / name).write_bytes(b"12345")
    values = {
        "name": "a",
        "input": "in/a.png",
        "sha256": "abc",
        "settings": {"threshold": 0.5},
        "nuclei": 3,
        "files": {"masks": {"masks/a.png": 5}, "labels": {"labels/a.tif": 5}},
    }
    return Record(**values | changes)


def test_what_is_stored_is_loaded(folder):
    records = Records(folder)
    assert records.load("a") is None
    records.store(record(folder))
    assert records.load("a") == record(folder)


def test_finished_means_same_content_same_settings_and_all_files_in_full_size(folder):
    records = Records(folder)
    records.store(record(folder))
    stored = records.load("a")
    assert records.is_finished(stored, "abc", {"threshold": 0.5}, ["masks"])
    assert not records.is_finished(None, "abc", {"threshold": 0.5}, ["masks"])
    assert not records.is_finished(stored, "abd", {"threshold": 0.5}, ["masks"])
    assert not records.is_finished(stored, "abc", {"threshold": 0.6}, ["masks"])
    assert not records.is_finished(stored, "abc", {"threshold": 0.5}, ["masks", "overlays"])
    (folder / "labels" / "a.tif").write_bytes(b"123")
    assert not records.is_finished(stored, "abc", {"threshold": 0.5}, ["masks"])
    (folder / "labels" / "a.tif").unlink()
    assert not records.is_finished(stored, "abc", {"threshold": 0.5}, ["masks"])


def test_a_record_takes_stale_results_with_it(folder):
    records = Records(folder)
    records.store(record(folder))
    records.store(record(folder, files={"masks": {"masks/a.png": 5}}))
    assert (folder / "masks" / "a.png").exists()
    assert not (folder / "labels" / "a.tif").exists()
    records.discard("a")
    assert not (folder / "masks" / "a.png").exists()
    assert records.load("a") is None
    records.discard("a")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "a"}', '{"name": "a", "unknown": 1}'])
def test_a_record_of_another_hand_counts_as_none(folder, text):
    (folder / RECORDS / "a.json").write_text(text)
    assert Records(folder).load("a") is None


def test_folders_of_a_store_go_with_its_files(folder):
    records = Records(folder)
    store = folder / "labels" / "a.zarr" / "labels" / "nuclei"
    store.mkdir(parents=True)
    (store / "0").write_bytes(b"12345")
    records.store(record(folder, files={"labels": {"labels/a.zarr/labels/nuclei/0": 5}}))
    records.discard("a")
    assert (folder / "labels").is_dir() and not (folder / "labels" / "a.zarr").exists()

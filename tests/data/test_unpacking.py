import hashlib
import os
import stat
import time
import zipfile

import pytest

from segmentation.data import unpacking
from segmentation.data.problems import DatasetError
from segmentation.data.unpacking import STALE_SECONDS, unpack


def make_zip(file, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


def take_png(name):
    return name if name.endswith(".png") else None


def accept(folder, digests):
    pass


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_wanted_members_are_unpacked_and_the_rest_is_not(tmp_path):
    members = [("a/x.png", b"x" * 99), ("a/b/y.png", b"yy"), ("a/", b""), ("README.md", b"z")]
    make_zip(tmp_path / "x.zip", members)
    seen = {}
    unpack(tmp_path / "x.zip", tmp_path / "out", take_png, lambda folder, digests: seen.update(digests))
    assert seen == {name: hashlib.sha256(content).hexdigest() for name, content in members[:2]}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files} == dict(members[:2])
    assert entries(tmp_path) == ["out", "x.zip"]


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/tmp/evil.png", "C:/evil.png", "..\\evil.png", "a/..", "../notes.txt"]
)
def test_no_member_leaves_the_folder(tmp_path, name):
    make_zip(tmp_path / "x.zip", [("a.png", b"1"), (name, b"2")])
    with pytest.raises(DatasetError, match="x.zip: refused, its member .* would leave the folder"):
        unpack(tmp_path / "x.zip", tmp_path / "out", take_png, accept)
    assert entries(tmp_path) == ["x.zip"]
    assert not (tmp_path.parent / "evil.png").exists()


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    make_zip(tmp_path / "x.zip", [(link, b"/etc/passwd")])
    with pytest.raises(DatasetError, match="'a.png' is a link or a device"):
        unpack(tmp_path / "x.zip", tmp_path / "out", take_png, accept)


def test_bombs_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    make_zip(tmp_path / "x.zip", [("a.png", bytes(10_000_000))])
    with pytest.raises(DatasetError, match=r"refused, it would unpack to 1 files of 10,000,000 bytes together from"):
        unpack(tmp_path / "x.zip", tmp_path / "out", take_png, accept)
    monkeypatch.setattr(unpacking, "MAX_BYTES", 100)
    make_zip(tmp_path / "x.zip", [("a.png", os.urandom(101))])
    with pytest.raises(DatasetError, match="expected at most .* 100 bytes"):
        unpack(tmp_path / "x.zip", tmp_path / "out", take_png, accept)
    monkeypatch.setattr(unpacking, "MAX_FILES", 1)
    make_zip(tmp_path / "x.zip", [("a.png", b"1"), ("b.png", b"1")])
    with pytest.raises(DatasetError, match="2 files"):
        unpack(tmp_path / "x.zip", tmp_path / "out", take_png, accept)
    assert entries(tmp_path) == ["x.zip"]


def test_a_member_larger_than_it_claims_is_not_unpacked(tmp_path):
    file = make_zip(tmp_path / "x.zip", [("a.png", bytes(1_000_000))])
    claimed = (1_000_000).to_bytes(4, "little")
    file.write_bytes(file.read_bytes().replace(claimed, (50_000).to_bytes(4, "little")))
    with pytest.raises(DatasetError, match="damaged"):
        unpack(file, tmp_path / "out", take_png, accept)
    assert entries(tmp_path) == ["x.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_twice_the_same_and_nothing_wanted_are_refused(tmp_path):
    make_zip(tmp_path / "x.zip", [("a.png", b"1"), ("a.png", b"2")])
    with pytest.raises(DatasetError, match="a.png is in it twice"):
        unpack(tmp_path / "x.zip", tmp_path / "out", take_png, accept)
    make_zip(tmp_path / "x.zip", [("a.txt", b"1")])
    with pytest.raises(DatasetError, match="holds none of the files"):
        unpack(tmp_path / "x.zip", tmp_path / "out", take_png, accept)


def test_damage_and_interruption_leave_nothing(tmp_path):
    file = make_zip(tmp_path / "x.zip", [(f"{number}.png", os.urandom(500)) for number in range(9)])
    data = file.read_bytes()
    for damaged in (data[:-30], data[:3000] + bytes(20) + data[3020:], b"", b"no zip"):
        file.write_bytes(damaged)
        with pytest.raises(DatasetError, match="x.zip: is damaged or no zip"):
            unpack(file, tmp_path / "out", take_png, accept)
    file.write_bytes(data)

    def interrupt(folder, digests):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(file, tmp_path / "out", take_png, interrupt)
    assert entries(tmp_path) == ["x.zip"]


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path):
    for name, age in ((".out-old", STALE_SECONDS + 60), (".out-new", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    unpack(make_zip(tmp_path / "x.zip", [("a.png", b"1")]), tmp_path / "out", take_png, accept)
    assert entries(tmp_path) == [".out-new", "out", "x.zip"]


def test_another_process_may_finish_first(tmp_path):
    def finish_first(folder, digests):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs.png").write_bytes(b"1")

    unpack(make_zip(tmp_path / "x.zip", [("a.png", b"1")]), tmp_path / "out", take_png, finish_first)
    assert entries(tmp_path / "out") == ["theirs.png"] and entries(tmp_path) == ["out", "x.zip"]

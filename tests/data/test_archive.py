import hashlib
import os
import re
import stat
import sys
import threading
import zipfile

import pytest

from segmentation.atomic import folder_written_whole
from segmentation.data import archive as archives
from segmentation.data.archive import Archive, ArchiveMember, list_files, unpack
from segmentation.data.images import ImageError, read_image
from segmentation.data.problems import DatasetError

PNG = re.compile(r"(.*\.png)")


def fill(root):
    for name in ("a/images/x.png", "a/masks/1.png", "Thumbs.db", ".hidden/y.png", "a/.DS_Store", "__MACOSX/a/z.png"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    (root / "b" / "masks").mkdir(parents=True)
    return root


def test_a_folder_and_its_zip_list_the_same(tmp_path, zip_folder):
    root = fill(tmp_path / "data")
    archive = zip_folder(root, tmp_path / "data.zip")
    files, folders = list_files(root)
    zipped, zipped_folders = list_files(archive)
    assert list(files) == list(zipped) == ["a/images/x.png", "a/masks/1.png"]
    assert folders == zipped_folders == {"", "a", "a/images", "a/masks", "b", "b/masks"}
    for name in files:
        assert files[name].read_bytes() == zipped[name].read_bytes() == name.encode()
        assert (files[name].name, files[name].stem) == (zipped[name].name, zipped[name].stem)
    assert str(zipped["a/masks/1.png"]) == f"{archive}/a/masks/1.png"


def test_depth_is_bounded_even_with_a_link_to_itself(tmp_path):
    fill(tmp_path)
    os.symlink(tmp_path, tmp_path / "a" / "again")
    files, _ = list_files(tmp_path)
    assert max(name.count("/") for name in files) == 4


def test_many_threads_read_one_zip(tmp_path):
    contents = {f"{number}.bin": bytes([number % 251]) * 5000 for number in range(200)}
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    archive = Archive(tmp_path / "x.zip")
    wrong = []

    def read_all():
        wrong.extend(name for name, content in contents.items() if archive.read(name) != content)

    threads = [threading.Thread(target=read_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_damaged_member_is_an_os_error_with_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a.png", bytes(range(256)) * 20)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[60:70] = bytes(10)
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(OSError, match=r"x.zip/a.png"):
        ArchiveMember(Archive(tmp_path / "x.zip"), "a.png").read_bytes()


def test_what_is_neither_folder_nor_zip_is_refused(tmp_path):
    (tmp_path / "notes.zip").write_text("no zip")
    with pytest.raises(DatasetError, match="notes.zip: expected a folder or a zip"):
        list_files(tmp_path / "notes.zip")
    with pytest.raises(DatasetError, match="absent: no such folder or zip"):
        list_files(tmp_path / "absent")


def make_zip(file, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_wanted_members_are_unpacked_and_the_rest_is_not(tmp_path):
    members = [("a/x.png", b"x" * 99), ("a/b/y.png", b"yy"), ("a/", b""), ("README.md", b"z")]
    make_zip(tmp_path / "x.zip", members)
    digests = unpack(tmp_path / "x.zip", tmp_path / "out", PNG)
    assert digests == {name: hashlib.sha256(content).hexdigest() for name, content in members[:2]}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files} == dict(members[:2])
    assert entries(tmp_path) == ["out", "x.zip"]


def test_members_go_where_the_pattern_says(tmp_path):
    make_zip(tmp_path / "x.zip", [("top/a.png", b"1"), ("a.png", b"2")])
    assert list(unpack(tmp_path / "x.zip", tmp_path / "out", re.compile(r"top/(.*)"))) == ["a.png"]
    assert (tmp_path / "out" / "a.png").read_bytes() == b"1"


def unpack_whole(file, folder):
    with folder_written_whole(folder) as new:
        unpack(file, new, PNG)


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/tmp/evil.png", "C:/evil.png", "..\\evil.png", "a/..", "../notes.txt"]
)
def test_no_member_leaves_the_folder(tmp_path, name):
    make_zip(tmp_path / "x.zip", [("a.png", b"1"), (name, b"2")])
    with pytest.raises(DatasetError, match="x.zip: refused, its member .* would leave the folder"):
        unpack(tmp_path / "x.zip", tmp_path / "out", PNG)
    assert entries(tmp_path) == ["x.zip"]
    assert not (tmp_path.parent / "evil.png").exists()


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    make_zip(tmp_path / "x.zip", [(link, b"/etc/passwd")])
    with pytest.raises(DatasetError, match="'a.png' is a link or a device"):
        unpack(tmp_path / "x.zip", tmp_path / "out", PNG)


def test_bombs_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    make_zip(tmp_path / "x.zip", [("a.png", bytes(10_000_000))])
    with pytest.raises(DatasetError, match=r"refused, it would unpack to 1 files of 10,000,000 bytes together from"):
        unpack(tmp_path / "x.zip", tmp_path / "out", PNG)
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    make_zip(tmp_path / "x.zip", [("a.png", os.urandom(101))])
    with pytest.raises(DatasetError, match="expected at most .* 100 bytes"):
        unpack(tmp_path / "x.zip", tmp_path / "out", PNG)
    monkeypatch.setattr(archives, "MAX_FILES", 1)
    make_zip(tmp_path / "x.zip", [("a.png", b"1"), ("b.png", b"1")])
    with pytest.raises(DatasetError, match="2 files"):
        unpack(tmp_path / "x.zip", tmp_path / "out", PNG)
    assert entries(tmp_path) == ["x.zip"]


def test_a_member_larger_than_it_claims_is_not_unpacked(tmp_path):
    file = make_zip(tmp_path / "x.zip", [("a.png", bytes(1_000_000))])
    claimed = (1_000_000).to_bytes(4, "little")
    file.write_bytes(file.read_bytes().replace(claimed, (50_000).to_bytes(4, "little")))
    with pytest.raises(DatasetError, match="damaged"):
        unpack_whole(file, tmp_path / "out")
    assert entries(tmp_path) == ["x.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_twice_the_same_and_nothing_wanted_are_refused(tmp_path):
    make_zip(tmp_path / "x.zip", [("a.png", b"1"), ("a.png", b"2")])
    with pytest.raises(DatasetError, match="a.png is in it twice"):
        unpack(tmp_path / "x.zip", tmp_path / "out", PNG)
    make_zip(tmp_path / "x.zip", [("a.txt", b"1")])
    with pytest.raises(DatasetError, match="holds none of the files"):
        unpack(tmp_path / "x.zip", tmp_path / "out", PNG)


def test_damage_and_interruption_leave_nothing(tmp_path, monkeypatch):
    file = make_zip(tmp_path / "x.zip", [(f"{number}.png", os.urandom(500)) for number in range(9)])
    data = file.read_bytes()
    for damaged in (data[:-30], data[:3000] + bytes(20) + data[3020:], b"", b"no zip"):
        file.write_bytes(damaged)
        with pytest.raises(DatasetError, match="x.zip: is damaged or no zip"):
            unpack_whole(file, tmp_path / "out")
    file.write_bytes(data)
    unpacked = []

    def interrupt(path, content):
        unpacked.append(path)
        if len(unpacked) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(archives.Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack_whole(file, tmp_path / "out")
    assert entries(tmp_path) == ["x.zip"]


def test_a_member_that_claims_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1000)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("images/large.png", bytes(1001))
        writer.writestr("images/small.png", bytes(1000))
    members, _ = list_files(tmp_path / "set.zip")
    assert len(members["images/small.png"].read_bytes()) == 1000
    with pytest.raises(OSError, match=r"large\.png: .*: 1,001 bytes, at most 1,000 are read; extract the zip"):
        members["images/large.png"].read_bytes()
    with pytest.raises(ImageError, match=r"large\.png cannot be read "):
        read_image(members["images/large.png"])


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_name_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "größe.png").write_bytes(b"")
    assert len(list_files(tmp_path)[0]) == 1
    (tmp_path / "images" / os.fsdecode(b"cell\xff.png")).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"images/cell\\udcff\.png: expected a name in UTF-8; rename it"):
        list_files(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "absent")
    with pytest.raises(DatasetError, match=r"a\.png: is a pipe, a socket or a device, expected files; remove it"):
        list_files(tmp_path)

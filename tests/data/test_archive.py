import os
import threading
import zipfile

import pytest

from segmentation.data.archive import Archive, ArchiveMember, list_files
from segmentation.data.problems import DatasetError


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

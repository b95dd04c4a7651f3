"""Downloads come from a server on loopback."""

import hashlib
import http.server
import io
import json
import logging
import signal
import subprocess
import sys
import threading
import zipfile

import pooch
import pytest

from segmentation.data import dsb2018
from segmentation.data.dsb2018 import MARKER, SOURCES, Source, content_digest, fetch
from segmentation.data.layouts import find_samples
from segmentation.data.problems import DatasetError

pytestmark = pytest.mark.slow

IDS = ("0" * 63 + "a", "0" * 63 + "b")


class Server:
    """Answers with `body`; the first `interruptions` answers break off half way, as do those with `status` 404."""

    def __init__(self):
        self.body, self.status, self.interruptions, self.requests = b"", 200, 0, 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests += 1
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                broken = server.requests <= server.interruptions
                self.wfile.write(server.body[: len(server.body) // 2] if broken else server.body)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/archive.zip"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)
    pooch.get_logger().setLevel(logging.ERROR)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def files(tmp_path, write_bowl, nuclei):
    """The files of two samples, by path."""
    root = write_bowl(tmp_path / "made", dict.fromkeys(IDS, nuclei))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


def packed(files, prefix="", more=()):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in [*((prefix + name, content) for name, content in files.items()), *more]:
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def corrected(server, files, monkeypatch):
    """The server holds a repository's archive, as the corrected set comes."""
    server.body = packed(files, "fixes-303545/stage1_train/", [("fixes-303545/README.md", b"about")])
    lines = [f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    monkeypatch.setitem(SOURCES, "dsb2018", Source(server.url, digest, is_of_content=True))
    return server


@pytest.fixture
def official(server, files, monkeypatch):
    server.body = packed(files)
    digest = hashlib.sha256(server.body).hexdigest()
    monkeypatch.setitem(SOURCES, "dsb2018-official", Source(server.url, digest, is_of_content=False))
    return server


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_downloaded_verified_unpacked_and_found_again(corrected, files, tmp_path):
    folder = tmp_path / "new" / "data"
    assert fetch("dsb2018", folder) == folder / "dsb2018"
    assert contents(folder / "dsb2018") == files
    assert [path.name for path in folder.iterdir()] == ["dsb2018"]
    assert [sample.id for sample in find_samples(folder / "dsb2018")] == sorted(IDS)
    corrected.http.shutdown()
    assert fetch("dsb2018", folder) == folder / "dsb2018" and corrected.requests == 1
    marker = json.loads((folder / "dsb2018" / MARKER).read_text())
    assert marker == {"url": corrected.url, "sha256": SOURCES["dsb2018"].sha256, "files": len(files)}


def test_the_official_archive_is_known_by_its_own_hash(official, files, tmp_path):
    assert contents(fetch("dsb2018-official", tmp_path / "data")) == files
    official.body = packed(files, more=[("README.md", b"")])
    with pytest.raises(DatasetError, match="cannot be downloaded: SHA256 hash"):
        fetch("dsb2018-official", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_an_interrupted_transfer_is_tried_again(corrected, files, tmp_path):
    corrected.interruptions = 2
    assert contents(fetch("dsb2018", tmp_path / "data")) == files
    assert corrected.requests == 3


def test_a_transfer_that_never_ends_well_leaves_nothing(corrected, tmp_path):
    corrected.interruptions = 99
    with pytest.raises(DatasetError, match="cannot be downloaded"):
        fetch("dsb2018", tmp_path / "data")
    assert corrected.requests == 1 + dsb2018.RETRIES and list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    "moment", ["pooch.core.shutil.move", "pathlib.Path.write_bytes", "pathlib.Path.write_text", "os.replace"]
)
def test_a_kill_leaves_nothing_that_is_taken_for_the_data(corrected, files, tmp_path, moment):
    """Killed when the download is complete, when the third file is unpacked, before the marker, before the rename."""
    code = f"""
import os, pathlib, pooch, signal
from segmentation.data.dsb2018 import SOURCES, Source, fetch
SOURCES["dsb2018"] = Source({corrected.url!r}, {SOURCES["dsb2018"].sha256!r}, is_of_content=True)
calls, function = [], {moment}
def kill(*arguments, **options):
    calls.append(arguments)
    if len(calls) == {3 if "bytes" in moment else 1}:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments, **options)
{moment} = kill
fetch("dsb2018", {str(tmp_path / "data")!r})
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    left = list((tmp_path / "data").iterdir())
    assert len(left) == 1 and left[0].name.startswith(".dsb2018-")
    assert contents(fetch("dsb2018", tmp_path / "data")) == files
    assert corrected.requests == 2


def test_a_truncated_zip_is_refused(corrected, tmp_path):
    corrected.body = corrected.body[:-40]
    with pytest.raises(DatasetError, match="dsb2018.zip: is damaged or no zip"):
        fetch("dsb2018", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_without_a_network_the_message_says_which_file_to_put_where(corrected, tmp_path):
    corrected.status = 404
    with pytest.raises(DatasetError) as caught:
        fetch("dsb2018", tmp_path / "data")
    assert "404" in str(caught.value)
    corrected.http.server_close()
    with pytest.raises(DatasetError) as caught:
        fetch("dsb2018", tmp_path / "data")
    assert corrected.url in str(caught.value) and f"put it at {tmp_path / 'data' / 'dsb2018.zip'}" in str(caught.value)


def test_altered_content_is_refused(corrected, files, tmp_path):
    name = sorted(files)[1]
    for altered in (files | {name: files[name] + b"\0"}, {k: v for k, v in files.items() if k != name}):
        corrected.body = packed(altered, "x/stage1_train/")
        with pytest.raises(DatasetError, match="the SHA-256 of its content is .* expected"):
            fetch("dsb2018", tmp_path / "data")
        assert list((tmp_path / "data").iterdir()) == []


def test_unsafe_archives_are_refused(corrected, files, tmp_path):
    corrected.body = packed(files, more=[("../evil.png", b"1")])
    with pytest.raises(DatasetError, match="would leave the folder"):
        fetch("dsb2018", tmp_path / "data")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{IDS[0]}/images/bomb.png", bytes(5_000_000))
    corrected.body = stream.getvalue()
    with pytest.raises(DatasetError, match="would unpack to"):
        fetch("dsb2018", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("prefix", ["", "stage1_train/", "fixes-303545/stage1_train/"])
def test_a_zip_put_there_by_hand_is_used_and_kept(corrected, files, tmp_path, prefix):
    other = [(f"stage1_test/{IDS[0]}/images/x.png", b"1"), (f"__MACOSX/{IDS[0]}/images/._x.png", b"2")]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dsb2018.zip").write_bytes(packed(files, prefix, other[:1]))
    assert contents(fetch("dsb2018", tmp_path / "data")) == files
    assert corrected.requests == 0 and (tmp_path / "data" / "dsb2018.zip").exists()


@pytest.mark.parametrize("content", [b"<html>sign in</html>", packed({f"{IDS[0]}/images/x.png": b"other"})])
def test_a_wrong_zip_put_there_by_hand_is_named(corrected, tmp_path, content):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dsb2018.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=r"dsb2018.zip: is .* Move .*dsb2018.zip away"):
        fetch("dsb2018", tmp_path / "data")
    assert corrected.requests == 0


def test_a_changed_folder_is_not_taken_for_the_data(corrected, files, tmp_path):
    folder = fetch("dsb2018", tmp_path / "data")
    (folder / sorted(files)[0]).unlink()
    with pytest.raises(DatasetError, match=rf"holds {len(files) - 1} PNG files, {len(files)} were unpacked; delete"):
        fetch("dsb2018", tmp_path / "data")
    (folder / MARKER).write_text('{"sha256": "0", "files": 1}')
    with pytest.raises(DatasetError, match="holds another version"):
        fetch("dsb2018", tmp_path / "data")
    for damaged in ("", "{", "[1]"):
        (folder / MARKER).write_text(damaged)
        with pytest.raises(DatasetError, match="was not unpacked by this program"):
            fetch("dsb2018", tmp_path / "data")


def test_a_folder_that_cannot_be_written_is_named(corrected, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DatasetError, match="data/dsb2018: cannot be written"):
        fetch("dsb2018", tmp_path / "data")


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="name: expected one of dsb2018, dsb2018-official, got 'dsb'"):
        fetch("dsb", tmp_path)


def test_the_content_digest_is_that_of_sha256sum():
    """Paths in byte order: '-' before '/', capitals before small letters."""
    digests = {"b/x.png": "2" * 64, "a/x.png": "1" * 64, "a-/x.png": "3" * 64, "B/x.png": "4" * 64}
    lines = f"{'4' * 64}  B/x.png\n{'3' * 64}  a-/x.png\n{'1' * 64}  a/x.png\n{'2' * 64}  b/x.png\n"
    assert content_digest(digests) == hashlib.sha256(lines.encode()).hexdigest()


def test_importing_does_not_import_what_only_downloads_need():
    code = "import sys, segmentation.data.dsb2018; sys.exit('pooch' in sys.modules or 'requests' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

import hashlib
import io
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ltood.core.errors import DataError
from ltood.sets.downloads import Source, fetch, unpack

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Offers CONTENT; `server.faults` says how the next answers go wrong."""

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        fault = server.faults.pop(0) if server.faults else ""
        if self.path == "/gone":
            fault = "404"
        if fault.isdigit():
            self.send_error(int(fault))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if fault == "whole":
            start = 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if fault != "no length":
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("Content-Type", "text/html" if fault == "page" else "application/x-tar")
        self.end_headers()
        rest = CONTENT[start:]
        self.wfile.write(rest[: len(rest) // 2] if fault == "short" else rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.faults, server.ranges = [], []
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def source(server, checksum=SHA256, path="data"):
    return Source("data.bin", f"{server.address}/{path}", checksum, "https://page.example")


def get(server, folder, checksum=SHA256, path="data"):
    return fetch(source(server, checksum, path), folder, attempts=3, pause=0.001)


@pytest.mark.parametrize("checksum", [MD5, SHA256, ""])
def test_a_file_arrives_whole_and_its_size_is_told(server, tmp_path, capsys, checksum):
    path = get(server, tmp_path / "new", checksum)
    assert path.read_bytes() == CONTENT
    assert [found.name for found in path.parent.iterdir()] == ["data.bin"]
    assert f"data.bin: 3.0 MB, from {server.address}/data to" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_asked_for_again(server, tmp_path):
    get(server, tmp_path)
    get(server, tmp_path)
    assert server.ranges == [None]


def test_a_file_that_is_there_with_other_bytes_is_refused(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(
        DataError,
        match=r"data\.bin has the checksum sha256:.* not sha256:.* Remove it .*see https://page",
    ):
        get(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == b"mine"


def test_a_killed_download_goes_on_where_it_was(server, tmp_path, capsys):
    (tmp_path / ".data.bin.part").write_bytes(CONTENT[:1_000_000])
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000000-"]
    assert "3.0 MB, 1.0 MB of it there already" in capsys.readouterr().err


def test_a_server_that_ignores_ranges_sends_all_again(server, tmp_path):
    (tmp_path / ".data.bin.part").write_bytes(CONTENT[:1_000_000])
    server.faults = ["whole"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000000-"]


@pytest.mark.parametrize("part", [b"other bytes", CONTENT[::-1], CONTENT + b"more"])
def test_a_part_of_something_else_is_dropped(server, tmp_path, part):
    (tmp_path / ".data.bin.part").write_bytes(part)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges[1:] == [None]


def test_a_part_that_was_complete_only_takes_its_name(server, tmp_path):
    (tmp_path / ".data.bin.part").write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_without_a_checksum_nothing_is_continued(server, tmp_path):
    (tmp_path / ".data.bin.part").write_bytes(b"other bytes")
    assert get(server, tmp_path, "").read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        (["503", "429"], [None, None, None]),
        (["short"], [None, "bytes=1500000-"]),
        (["short", "500", "short"], [None, "bytes=1500000-", "bytes=1500000-", "bytes=2250000-"]),
        (["no length"], [None]),
    ],
)
def test_passing_failures_are_tried_again(server, tmp_path, faults, ranges):
    server.faults = faults
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ranges


def test_lasting_failures_end_in_one_sentence(server, tmp_path):
    server.faults = ["503"] * 3
    with pytest.raises(
        DataError, match=r"answers 503 .* after 3 attempts .* put it at .*data\.bin"
    ):
        get(server, tmp_path)


def test_a_file_that_is_gone_is_not_tried_again(server, tmp_path):
    with pytest.raises(DataError, match=r"/gone answers 404 Not Found.* by hand .*page\.example"):
        get(server, tmp_path, path="gone")
    assert len(server.ranges) == 1


def test_another_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(DataError, match=r"data\.bin has the checksum md5:.*, not md5:0{32}"):
        get(server, tmp_path, "md5:" + "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_is_no_file(server, tmp_path):
    server.faults = ["page"]
    with pytest.raises(DataError, match=r"answers with a web page, not with data\.bin"):
        get(server, tmp_path, "")


def test_offline_says_what_to_do_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(DataError, match=r"no connection: .*refused.* put it at .*x\.tar"):
        fetch(Source("x.tar", address), tmp_path, attempts=2, pause=0.001)


def test_a_full_disk_is_known_before_the_first_byte(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1_000_000))
    with pytest.raises(DataError, match=r"cannot write data\.bin to .* \(1\.0 MB are free\); free"):
        get(server, tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write data\.bin to .*Not a directory"):
        get(server, tmp_path / "file" / "folder")


def test_a_system_without_locks_downloads_all_the_same(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # As on Windows.
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_datasets_are_imported_without_locks():
    code = "import sys; sys.modules['fcntl'] = None; import ltood.datasets.folder, ltood.cli.data"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_two_downloads_of_one_file_do_not_mix(server, tmp_path):
    import fcntl

    with (tmp_path / ".data.bin.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process is downloading data\.bin"):
            get(server, tmp_path)


@pytest.mark.parametrize(
    ("file", "address", "checksum", "sentence"),
    [
        ("a/b", "https://a", "", r"'a/b' is not a file name"),
        (".a", "https://a", "", r"'\.a' is not a file name"),
        ("a", "file:///etc/passwd", "", r"must begin with https"),
        ("a", "https://a", "md5:12", r"checksum 'md5:12' of a must be md5"),
        ("a", "https://a", "crc:" + "0" * 32, r"must be md5: or sha256:"),
    ],
)
def test_malformed_sources_are_refused(file, address, checksum, sentence):
    with pytest.raises(DataError, match=sentence):
        Source(file, address, checksum)


def tar(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for name, target in members:
            info = tarfile.TarInfo(name)
            if target:
                info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
            else:
                info.size = 3
                archive.addfile(info, io.BytesIO(b"abc"))
    return path


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "abc")
    return path


def test_archives_are_unpacked_in_one_step(tmp_path):
    unpack(tar(tmp_path / "a.tar.gz", ("x/a", ""), ("x/b", "a")), tmp_path / "tar")
    unpack(zipped(tmp_path / "a.zip", "x/a"), tmp_path / "zip")
    for kind in ("tar", "zip"):
        assert (tmp_path / kind / "x" / "a").read_text() == "abc"
        assert (tmp_path / kind).stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "a.zip", "tar", "zip"]


@pytest.mark.parametrize("member", [("../evil", ""), ("link", "../../evil"), ("link", "/etc")])
@pytest.mark.parametrize("has_filters", [True, False])
def test_tar_members_that_lead_out_are_refused(tmp_path, monkeypatch, member, has_filters):
    if not has_filters:  # as in Python 3.11.3
        monkeypatch.delattr("tarfile.data_filter", raising=False)
    folder = tmp_path / "in"
    folder.mkdir()
    path = tar(folder / "a.tar", ("good", ""), member)
    with pytest.raises(DataError, match="leads out of its folder"):
        unpack(path, folder / "out")
    assert [found.name for found in folder.iterdir()] == ["a.tar"]
    assert [found.name for found in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil"])
def test_zip_members_that_lead_out_are_refused(tmp_path, name):
    path = zipped(tmp_path / "a.zip", "good", name)
    with pytest.raises(DataError, match="leads out of its folder"):
        unpack(path, tmp_path / "out")
    assert [found.name for found in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("cut", [0, 10, 60])
def test_damaged_archives_leave_nothing(tmp_path, cut):
    path = tar(tmp_path / "a.tar.gz", *((f"x/{number}", "") for number in range(50)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a\.tar\.gz cannot be unpacked"):
        unpack(path, tmp_path / "out")
    assert [found.name for found in tmp_path.iterdir()] == ["a.tar.gz"]


def test_an_existing_folder_is_not_unpacked_over(tmp_path):
    with pytest.raises(DataError, match=r"exists; move it away before a\.tar is unpacked"):
        unpack(tar(tmp_path / "a.tar", ("x", "")), tmp_path)

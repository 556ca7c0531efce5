"""Downloads from a real server on this machine, and archives of every kind."""

from __future__ import annotations

import hashlib
import http.server
import io
import stat
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Callable, Iterator

import pytest

from esr_core import DownloadError
from esr_core.download import extract, fetch

CONTENT = bytes(range(256)) * 1200  # some blocks, and a piece of one


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT, in the way that a test asks for."""

    daemon_threads = True
    ranges, breaks_after, etag, stalls = True, len(CONTENT), '"one"', False
    honest = True  # about the part that it sends

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent: list[int] = []  # bytes of each answer
        self.released = threading.Event()

    def url(self, name: str = "faces.bin") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if "gone" in self.path:
            self.send_error(404)
            return
        begin, asked = 0, self.headers.get("Range")
        if asked and self.server.ranges and self.headers.get("If-Range") == self.server.etag:
            begin = int(asked[len("bytes=") : -1])
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.send_header("ETag", self.server.etag)
        if begin:
            sent = begin if self.server.honest else 0
            self.send_header("Content-Range", f"bytes {sent}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        body = CONTENT[begin : self.server.breaks_after]
        self.server.sent.append(len(body))  # before, or who has it all may ask too early
        self.wfile.write(body)
        if self.server.stalls:
            self.server.released.wait(10)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_comes_whole_and_only_once(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "new" / "faces.bin"
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(server.url(), path, digest) == path
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["faces.bin"]
    fetch(server.url(), path, digest)
    fetch(server.url(), path)
    assert server.sent == [len(CONTENT)]


def test_broken_connection_is_said_and_gone_on_from(tmp_path: Path, server: Server) -> None:
    server.breaks_after = 100_000
    path = tmp_path / "faces.bin"
    with pytest.raises(DownloadError, match=r"broke after 100000 of 307200.*call again") as caught:
        fetch(server.url(), path)
    assert server.url() in str(caught.value)
    assert not path.exists()
    server.breaks_after = len(CONTENT)
    fetch(server.url(), path)
    assert path.read_bytes() == CONTENT
    assert server.sent == [100_000, len(CONTENT) - 100_000]
    assert names(tmp_path) == ["faces.bin"]


@pytest.mark.parametrize("change", ["ranges", "etag"])
def test_begins_anew_where_the_rest_cannot_be_had(
    tmp_path: Path, server: Server, change: str
) -> None:
    server.breaks_after = 100_000
    with pytest.raises(DownloadError):
        fetch(server.url(), tmp_path / "faces.bin")
    server.breaks_after = len(CONTENT)
    setattr(server, change, {"ranges": False, "etag": '"two"'}[change])
    assert fetch(server.url(), tmp_path / "faces.bin").read_bytes() == CONTENT
    assert server.sent == [100_000, len(CONTENT)]


def test_another_part_than_asked_for_is_not_taken(tmp_path: Path, server: Server) -> None:
    server.breaks_after = 100_000
    with pytest.raises(DownloadError):
        fetch(server.url(), tmp_path / "faces.bin")
    server.breaks_after, server.honest = len(CONTENT), False
    with pytest.raises(DownloadError, match="sends another part than the one asked for"):
        fetch(server.url(), tmp_path / "faces.bin")
    assert fetch(server.url(), tmp_path / "faces.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://[::1", "http://h\u00e4st/x", "http:// a", "x"])
def test_what_is_no_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError):
        fetch(url, tmp_path / "x")


def test_places_and_files_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"File exists: .*file"):
        fetch((tmp_path / "file").as_uri(), tmp_path / "file" / "x")
    with pytest.raises(DownloadError, match="is a folder"):
        fetch((tmp_path / "file").as_uri(), tmp_path)
    with pytest.raises(DownloadError, match="empty file"):
        fetch((tmp_path / "file").as_uri(), tmp_path / "new")


def test_part_that_is_longer_than_the_file(tmp_path: Path, server: Server) -> None:
    server.breaks_after = 100_000
    with pytest.raises(DownloadError):
        fetch(server.url(), tmp_path / "faces.bin")
    server.breaks_after = len(CONTENT)
    (tmp_path / "faces.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url(), tmp_path / "faces.bin").read_bytes() == CONTENT


def test_other_content_than_expected_is_thrown_away(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DownloadError, match="not the expected one"):
        fetch(server.url(), tmp_path / "faces.bin", "0" * 64)
    assert names(tmp_path) == []


def test_server_that_stops_sending(tmp_path: Path, server: Server) -> None:
    server.breaks_after, server.stalls = 1000, True
    with pytest.raises(DownloadError, match="timed out"):
        fetch(server.url(), tmp_path / "faces.bin", timeout_s=0.3)


def test_addresses_that_lead_nowhere(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DownloadError, match="the server answers 404"):
        fetch(server.url("gone.zip"), tmp_path / "x")
    with pytest.raises(DownloadError, match="refused"):
        fetch("http://127.0.0.1:1/x", tmp_path / "x")
    with pytest.raises(DownloadError, match="must begin with http, https, ftp, file"):
        fetch("gopher://old/x", tmp_path / "x")
    with pytest.raises(DownloadError, match="No such file"):
        fetch(f"file://{tmp_path}/nothing", tmp_path / "x")
    assert names(tmp_path) == []


def test_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    url = (tmp_path / "source").as_uri()
    assert fetch(url, tmp_path / "copy").read_bytes() == CONTENT


Pack = Callable[[Path, dict[str, bytes]], Path]


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o4777
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archive_is_unpacked_among_what_is_there(tmp_path: Path, pack: Pack) -> None:
    archive = pack(tmp_path / "a", {"set/0/x.jpg": b"x", "set/readme": b"new"})
    (tmp_path / "out/set").mkdir(parents=True)
    (tmp_path / "out/set/readme").write_bytes(b"old")
    (tmp_path / "out/mine").write_bytes(b"mine")
    assert extract(archive, tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out/set/0/x.jpg").read_bytes() == b"x"
    assert (tmp_path / "out/set/readme").read_bytes() == b"new"
    assert (tmp_path / "out/mine").read_bytes() == b"mine"
    assert not (tmp_path / "out/set/readme").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)
    assert names(tmp_path) == ["a", "out"]


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../b", "/etc/x", "C:\\x", "a\\..\\..\\b"])
def test_archive_that_would_write_elsewhere(tmp_path: Path, pack: Pack, name: str) -> None:
    archive = pack(tmp_path / "a", {"good": b"1", name: b"2"})
    with pytest.raises(DownloadError, match="would lie outside of its folder; not unpacked"):
        extract(archive, tmp_path / "out")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_tar_with_links_or_devices(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DownloadError, match="'link' is a link or a device"):
        extract(tmp_path / "a", tmp_path / "out")
    assert names(tmp_path) == ["a"]


def test_zip_with_a_link(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DownloadError, match="'link' is a link or a device"):
        extract(tmp_path / "a", tmp_path / "out")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_damaged_archives_leave_nothing(tmp_path: Path, pack: Pack) -> None:
    whole = pack(tmp_path / "whole", {"x": b"first", "noise": CONTENT[::-7]}).read_bytes()
    middle = len(whole) // 2
    inverted = bytes(255 - byte for byte in whole[middle : middle + 40])
    flipped = whole[:middle] + inverted + whole[middle + 40 :]
    (tmp_path / "whole").unlink()
    for content in (whole[:middle], flipped, b"", b"<html>"):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(DownloadError, match="a: cannot be unpacked"):
            extract(tmp_path / "a", tmp_path / "out")
        assert names(tmp_path) == ["a"]


def test_archive_that_claims_more_than_the_disk_holds(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as archive:
        member = tarfile.TarInfo("huge")
        member.size = 1 << 60
        archive.fileobj.write(member.tobuf())  # type: ignore[union-attr]
    with pytest.raises(DownloadError):
        extract(tmp_path / "a", tmp_path / "out")
    assert names(tmp_path) == ["a"]

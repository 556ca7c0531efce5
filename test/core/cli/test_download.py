"""Downloads from a real server on this machine, and archives of every kind."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Iterator

import pytest

from esr_core import DownloadError
from esr_core.download import extract, fetch

CONTENT = bytes(range(256)) * 1200  # some blocks, and a piece of one


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT, as its attributes request."""

    daemon_threads = True
    ranges, breaks_after, etag, stalls = True, len(CONTENT), '"one"', False
    honest = True  # about the range that it sends

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
        begin, range_ = 0, self.headers.get("Range")
        if range_ and self.server.ranges and self.headers.get("If-Range") == self.server.etag:
            begin = int(range_[len("bytes=") : -1])
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
        self.server.sent.append(len(body))  # before the client has all of it
        self.wfile.write(body)
        if self.server.stalls:
            self.server.released.wait(10)

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


class FtpServer(socketserver.ThreadingTCPServer):
    """Sends the first ``breaks_after`` bytes of CONTENT for every file."""

    daemon_threads = allow_reuse_address = True
    breaks_after = len(CONTENT)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FtpHandler)

    def url(self) -> str:
        return f"ftp://127.0.0.1:{self.server_address[1]}/folder/faces.bin"


class FtpHandler(socketserver.StreamRequestHandler):
    server: FtpServer

    def reply(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.reply("220 ready")
        with socket.create_server(("127.0.0.1", 0)) as data:
            high, low = divmod(data.getsockname()[1], 256)
            replies = {
                "USER": "230 logged in",
                "TYPE": "200 binary",
                "CWD": "250 changed",
                "PASV": f"227 passive (127,0,0,1,{high},{low})",
                "QUIT": "221 bye",
            }
            for line in self.rfile:
                command = line.decode().split()[0].upper()
                if command != "RETR":
                    self.reply(replies.get(command, "502 unknown"))
                    continue
                self.reply(f"150 sending ({len(CONTENT)} bytes)")
                connection, _ = data.accept()
                with connection:
                    connection.sendall(CONTENT[: self.server.breaks_after])
                self.reply("226 done")


@pytest.fixture
def ftp_server() -> Iterator[FtpServer]:
    with FtpServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_comes_whole_and_only_once(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "new" / "faces.bin"
    assert fetch(server.url(), path) == path
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["faces.bin"]
    fetch(server.url(), path)
    assert server.sent == [len(CONTENT)]


def test_interrupted_ftp_download_leaves_nothing_and_promises_no_resume(
    tmp_path: Path, ftp_server: FtpServer
) -> None:
    path = tmp_path / "faces.bin"
    ftp_server.breaks_after = 100_000
    with pytest.raises(DownloadError, match=r"broke after 100000 of 307200 bytes$"):
        fetch(ftp_server.url(), path)
    assert names(tmp_path) == []
    ftp_server.breaks_after = len(CONTENT)
    assert fetch(ftp_server.url(), path).read_bytes() == CONTENT
    assert names(tmp_path) == ["faces.bin"]


def test_interrupted_http_download_is_resumed(tmp_path: Path, server: Server) -> None:
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
def test_starts_from_the_beginning_without_ranges_or_for_another_version(
    tmp_path: Path, server: Server, change: str
) -> None:
    server.breaks_after = 100_000
    with pytest.raises(DownloadError):
        fetch(server.url(), tmp_path / "faces.bin")
    server.breaks_after = len(CONTENT)
    setattr(server, change, {"ranges": False, "etag": '"two"'}[change])
    assert fetch(server.url(), tmp_path / "faces.bin").read_bytes() == CONTENT
    assert server.sent == [100_000, len(CONTENT)]


def test_another_range_than_requested_is_refused(tmp_path: Path, server: Server) -> None:
    server.breaks_after = 100_000
    with pytest.raises(DownloadError):
        fetch(server.url(), tmp_path / "faces.bin")
    server.breaks_after, server.honest = len(CONTENT), False
    with pytest.raises(DownloadError, match="sends another range than the requested one"):
        fetch(server.url(), tmp_path / "faces.bin")
    assert fetch(server.url(), tmp_path / "faces.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://[::1", "http://h\u00e4st/x", "http:// a", "x"])
def test_malformed_urls(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError):
        fetch(url, tmp_path / "x")


def test_destinations_and_contents_that_are_impossible(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"Not a directory: .*file"):
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


def test_server_that_stops_sending(tmp_path: Path, server: Server) -> None:
    server.breaks_after, server.stalls = 1000, True
    with pytest.raises(DownloadError, match="timed out"):
        fetch(server.url(), tmp_path / "faces.bin", timeout_s=0.3)


def test_unreachable_urls(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DownloadError, match="HTTP Error 404: Not Found"):
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


def test_pooch_is_loaded_by_a_download_only() -> None:
    program = "import esr_core.cli, esr_core.download, sys; sys.exit('pooch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFREG | 0o4777) << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


def test_archive_is_unpacked_among_existing_files(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a", {"set/0/x.jpg": b"x", "set/readme": b"new"})
    (tmp_path / "out/set").mkdir(parents=True)
    (tmp_path / "out/set/readme").write_bytes(b"old")
    (tmp_path / "out/mine").write_bytes(b"mine")
    assert extract(archive, tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out/set/0/x.jpg").read_bytes() == b"x"
    assert (tmp_path / "out/set/readme").read_bytes() == b"new"
    assert (tmp_path / "out/mine").read_bytes() == b"mine"
    assert not (tmp_path / "out/set/readme").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)
    assert names(tmp_path) == ["a", "out"]


@pytest.mark.parametrize("name", ["../out.txt", "a/../../b", "/etc/x", "C:\\x", "a\\..\\..\\b"])
def test_archive_that_would_write_elsewhere(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a", {"good": b"1", name: b"2"})
    with pytest.raises(DownloadError, match="would lie outside of its folder; not unpacked"):
        extract(archive, tmp_path / "out")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_archive_with_links_or_devices(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = (kind | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DownloadError, match="'link' is a link or a device"):
        extract(tmp_path / "a", tmp_path / "out")
    assert names(tmp_path) == ["a"]


def test_damaged_archives_leave_nothing(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole", {"x": b"first", "noise": CONTENT[::-7]}).read_bytes()
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
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("huge", b"x")
        archive.infolist()[0].file_size = 1 << 60  # as its directory is written at the end
    with pytest.raises(DownloadError, match=r"needs 1152921504607 MB, but only \d+ MB are free"):
        extract(tmp_path / "a", tmp_path / "out")
    assert names(tmp_path) == ["a"]


def test_an_interrupt_leaves_no_part_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "a", {"set/0.jpg": b"x", "set/1.jpg": b"y"})
    move, moved = os.replace, []

    def stopped(source: Path, target: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        move(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with suppress(KeyboardInterrupt):
        extract(archive, tmp_path / "out")
    there = tmp_path / "out" / "set"
    assert not there.exists() or len([*there.iterdir()]) == 2


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_damaged_name_and_damaged_lzma_content(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w", method) as archive:
        archive.writestr("é", bytes(range(256)) * 9)
    whole = (tmp_path / "a").read_bytes()
    damaged = whole[:80] + b"\xff" * 40 + whole[120:]
    if method == zipfile.ZIP_STORED:
        damaged = whole.replace("é".encode(), b"\xff\xff")
    (tmp_path / "a").write_bytes(damaged)
    with pytest.raises(DownloadError, match="a: cannot be unpacked"):
        extract(tmp_path / "a", tmp_path / "out")

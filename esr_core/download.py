"""Download files, and unpack archives from untrusted sources; what is offered is :data:`CATALOGUE`.

None of it is needed to run the node with the shipped weights.
"""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import zipfile
import zlib
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from shutil import disk_usage
from stat import S_IFDIR, S_IFMT, S_IFREG
from typing import Any, NamedTuple, Optional
from urllib.request import Request, urlopen

from esr_core.errors import DownloadError, OptionError
from esr_core.progress import bar

#: The published learner's folder for this method on its server.
OPENDR = "ftp://opendrdata.csd.auth.gr/perception/facial_emotion_estimation"
SCHEMES = ("http", "https", "ftp", "file")
#: Exceptions of zipfile for an archive that it cannot unpack. RuntimeError: it is encrypted, or
#: compressed by an unsupported method. ValueError: a damaged name or offset.
_UNPACK_ERRORS = (
    *(zipfile.BadZipFile, EOFError, zlib.error, LZMAError, RuntimeError, ValueError, OSError),
)


class Item(NamedTuple):
    """A file on a server; a .zip file holds the folder of its name."""

    description: str
    file: str  # relative to the server's folder and to the destination


CATALOGUE = {
    "data": Item("a small AffectNet", "data/AffectNet_micro.zip"),
    "pretrained": Item("the published ESR-9, not for commercial use", "pretrained/esr_9.zip"),
    "demo_image": Item("a picture with a face", "demo/sheldon.jpg"),
    "demo_video": Item("a video with faces", "demo/big_bang.mp4"),
}


def get(item: Item, root: Path, server: Optional[str] = None) -> Path:
    """Download into ``root``, unpack a .zip file, and return the path of the file or folder.

    server: URL of a mirror with the same folders. Existing files and folders are kept.

    Raises:
        OptionError: ``server`` is not a URL.
        DownloadError: the server is unreachable, or the content is damaged or unsafe.
    """
    target = root / item.file
    result = target.with_suffix("") if target.suffix == ".zip" else target
    if result != target and result.is_dir():
        return result
    server = OPENDR if server is None else server
    if not isinstance(server, str) or not server:
        raise OptionError(f"url must be the address of a folder, but got {server!r}")
    fetch(f"{server.rstrip('/')}/{item.file}", target)
    if result != target:
        try:
            extract(target, target.parent)
        except DownloadError as error:
            raise DownloadError(f"{error}; remove {target} to download it again") from error
        if not result.is_dir():
            raise DownloadError(f"{target}: unpacked, but it contains no {result.name}")
    return result


def fetch(url: str, path: Path, timeout_s: float = 30.0) -> Path:
    """Download a file to ``path`` and return that; an existing file is kept.

    An interrupted HTTP download is kept as ``<path>.part``, and the next call resumes it if the
    server supports range requests. Downloads by FTP start from the beginning.

    Raises:
        DownloadError: the server is unreachable or lacks the file, or the connection broke.
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DownloadError("downloads need pooch; run 'pip install pooch'") from error
    if path.is_dir():
        raise DownloadError(f"{path}: is a folder, but must be a file")
    if url.split(":", 1)[0] not in SCHEMES:
        raise DownloadError(f"{url}: a URL must begin with {', '.join(SCHEMES)} and ':'")
    part, note = (path.with_name(path.name + ending) for ending in (".part", ".part.version"))
    receive = partial(_receive, part=part, note=note, timeout_s=timeout_s)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, None, path.name, path.parent, downloader=receive)
    # ValueError: a malformed URL such as http://[::1
    except (OSError, ValueError, http.client.HTTPException) as error:
        if part.exists() and not note.exists():
            part.unlink()
        kept = f"; {part} is kept, call again to resume" if part.exists() else ""
        raise DownloadError(f"{url}: {_reason(error)}{kept}") from error
    return path


def _receive(
    url: str, output_file: str, _pooch: Any, part: Path, note: Path, timeout_s: float
) -> None:
    """Download to ``part``, or resume that, and move it to ``output_file``; pooch's own do not.

    note: the file that holds the URL and the version (ETag or date) of ``part``, if there is one.
    """
    headers = {}
    if part.is_file() and note.is_file():
        source, _, version = note.read_text(encoding="utf-8").partition("\n")
        if source == url:
            headers = {"Range": f"bytes={part.stat().st_size}-", "If-Range": version}
    try:
        response = urlopen(Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not headers:
            raise
        note.unlink()  # `part` is longer than the server's file
        response = urlopen(url, timeout=timeout_s)
    with response:
        begin = part.stat().st_size if getattr(response, "status", None) == 206 else 0
        if begin and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            note.unlink()
            raise OSError("the server sends another range than the requested one")
        length = response.headers.get("Content-Length")
        total = begin + int(length) if length else None
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or "W/"
        note.unlink(missing_ok=True)
        if url.startswith("http") and not version.startswith("W/"):  # weak: bytes may differ
            note.write_text(f"{url}\n{version}", encoding="utf-8")
        with open(part, "ab" if begin else "wb") as file, bar("MB") as progress:
            task = progress.add_task(part.stem, total=total and total / 1e6)
            progress.update(task, completed=begin / 1e6)
            for block in iter(partial(response.read, 1 << 16), b""):
                file.write(block)
                progress.advance(task, len(block) / 1e6)
    size = part.stat().st_size
    if total is not None and size != total:
        raise OSError(f"the connection broke after {size} of {total} bytes")
    note.unlink(missing_ok=True)
    if not size:
        raise OSError("the server sends an empty file")
    os.replace(part, output_file)


def extract(archive: Path, folder: Path) -> Path:
    """Unpack a .zip file into ``folder`` and return that; files of the same names are replaced.

    All members are checked first and unpacked beside ``folder``, so a damaged or unsafe archive
    leaves nothing.

    Raises:
        DownloadError: not a .zip file, damaged, larger than the free disk space, or a member is a
            link, a device or outside of ``folder``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=folder.name + ".", dir=folder.parent) as place:
            with zipfile.ZipFile(archive) as packed:
                _check_members(archive, packed, disk_usage(place).free)
                packed.extractall(place)
            folder.mkdir(exist_ok=True)
            for source in sorted(Path(place).rglob("*")):
                target = folder / source.relative_to(place)
                # A new folder moves as a whole, so an interrupt leaves no part of it.
                if source.exists() and not (source.is_dir() and target.is_dir()):
                    os.replace(source, target)
    except _UNPACK_ERRORS as error:
        raise DownloadError(f"{archive}: cannot be unpacked ({_reason(error)})") from error
    return folder


def _check_members(archive: Path, packed: zipfile.ZipFile, free_bytes: int) -> None:
    needed_mb, free_mb = sum(each.file_size for each in packed.infolist()) / 1e6, free_bytes / 1e6
    if needed_mb > free_mb:
        raise DownloadError(
            f"{archive}: needs {needed_mb:.0f} MB, but only {free_mb:.0f} MB are free"
        )
    for member in packed.infolist():
        name, path, fault = member.filename, PurePosixPath(member.filename), ""
        if S_IFMT(member.external_attr >> 16) not in (0, S_IFREG, S_IFDIR):
            fault = "is a link or a device"
        if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
            fault = "would lie outside of its folder"
        if fault:
            raise DownloadError(f"{archive}: {name!r} {fault}; not unpacked")


def _reason(error: Exception) -> str:
    """Return the text of an error on one line, without urllib's wrapper."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        error = error.reason if isinstance(error.reason, OSError) else OSError(error.reason)
    return " ".join(str(error).split())

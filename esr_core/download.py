"""Fetching files from a server, and unpacking archives that somebody else made."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterable, Tuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from esr_core.errors import DownloadError
from esr_core.hashing import digest

SCHEMES = ("http", "https", "ftp", "file")
_BLOCK = 1 << 16


def fetch(url: str, path: Path, sha256: str = "", timeout_s: float = 30.0) -> Path:
    """Download to ``path``, and return it; a file that is there already stays.

    What came before a connection broke is kept as ``<path>.part``; the next call goes on from
    there where the server can (HTTP ranges). ``sha256`` is compared before the file gets its name.

    Raises:
        DownloadError: the server cannot be reached or lacks the file, the connection broke, or
            the content is another one than ``sha256`` says.
    """
    if path.is_file() and (not sha256 or digest(path) == sha256):
        return path
    if path.is_dir():
        raise DownloadError(f"{path}: is a folder, but a file is to come here")
    if url.split(":", 1)[0] not in SCHEMES:
        raise DownloadError(f"{url}: an address must begin with {', '.join(SCHEMES)} and ':'")
    part, note = (path.with_name(path.name + end) for end in (".part", ".part.json"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part, note, timeout_s)
    # ValueError: what is no address, such as http://[::1
    except (OSError, ValueError, http.client.HTTPException) as error:
        kept = f"; {part} is kept, so call again to go on" if part.exists() else ""
        raise DownloadError(f"{url}: {_reason(error)}{kept}") from error
    if not part.stat().st_size:
        part.unlink()
        raise DownloadError(f"{url}: the server sends an empty file")
    if sha256 and digest(part) != sha256:
        part.unlink()
        note.unlink(missing_ok=True)
        raise DownloadError(f"{url}: its content is not the expected one (SHA-256 {sha256})")
    os.replace(part, path)
    note.unlink(missing_ok=True)
    return path


def _receive(url: str, part: Path, note: Path, timeout_s: float) -> None:
    headers = _range_of(url, part, note)
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:  # what is there is not the beginning of what the server has
            raise
        note.unlink(missing_ok=True)
        response = urllib.request.urlopen(url, timeout=timeout_s)
    with response:
        goes_on = getattr(response, "status", 200) == 206
        begin = part.stat().st_size if goes_on else 0
        if goes_on and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            note.unlink(missing_ok=True)  # so that the next call begins anew
            raise OSError("the server sends another part than the one asked for")
        length = response.headers.get("Content-Length")
        total = begin + int(length) if length else None
        _remember(url, note, response.headers)
        with open(part, "ab" if goes_on else "wb") as file, _bar() as progress:
            task = progress.add_task(part.stem, total=total, completed=begin)
            while True:
                block = response.read(_BLOCK)
                if not block:
                    break
                file.write(block)
                progress.advance(task, len(block))
    if total is not None and part.stat().st_size != total:
        raise OSError(f"the connection broke after {part.stat().st_size} of {total} bytes")


def _range_of(url: str, part: Path, note: Path) -> Dict[str, str]:
    """Ask for the rest, but only of the very file that the first part is of."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        size = part.stat().st_size
        if known["url"] != url or not size:
            return {}
        version = str(known["version"])
        if not (version.isascii() and version.isprintable()):
            return {}
        return {"Range": f"bytes={size}-", "If-Range": version}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def _remember(url: str, note: Path, headers: Any) -> None:
    version = headers.get("ETag") or headers.get("Last-Modified")
    if version and not version.startswith("W/"):  # a weak one does not promise the same bytes
        note.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")
    else:
        note.unlink(missing_ok=True)


def extract(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar file into ``folder``, and return it; replaces files of the same names.

    Everything is looked at first and unpacked beside ``folder``, so that a damaged or dangerous
    archive leaves nothing. Only plain files and folders are taken, with ordinary permissions.

    Raises:
        DownloadError: not an archive, damaged, larger than the disk, or a member would lie
            outside of ``folder`` or is a link or a device.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=folder.name + ".", dir=folder.parent) as place:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as packed:
                    _unzip(packed, archive, Path(place))
            else:
                with tarfile.open(archive) as packed_tar:
                    _untar(packed_tar, archive, Path(place))
            _move(Path(place), folder)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        zlib.error,
        NotImplementedError,  # a way of compression that Python does not know
        RuntimeError,  # a zip file with a password
        OSError,
    ) as error:
        raise DownloadError(f"{archive}: cannot be unpacked ({_reason(error)})") from error
    return folder


def _unzip(packed: zipfile.ZipFile, archive: Path, place: Path) -> None:
    members = packed.infolist()
    _check_size(archive, (member.file_size for member in members), place)
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
        _check_member(archive, member.filename, plain)
    for member in members:
        target = place / member.filename
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(member) as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file)


def _untar(packed: tarfile.TarFile, archive: Path, place: Path) -> None:
    members = packed.getmembers()
    # tarfile takes a damaged header for the end; behind the true one are only zeros.
    assert packed.fileobj is not None
    packed.fileobj.seek(packed.offset)
    for block in iter(lambda: packed.fileobj.read(1 << 20), b""):  # type: ignore[union-attr]
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {packed.offset}")
    _check_size(archive, (member.size for member in members), place)
    for member in members:
        _check_member(archive, member.name, member.isfile() or member.isdir())
    for member in members:
        target = place / member.name
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        source = packed.extractfile(member)
        assert source is not None
        with source, open(target, "wb") as file:
            shutil.copyfileobj(source, file)


def _check_member(archive: Path, name: str, plain: bool) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise DownloadError(f"{archive}: {name!r} would lie outside of its folder; not unpacked")
    if not plain:
        raise DownloadError(f"{archive}: {name!r} is a link or a device; not unpacked")


def _check_size(archive: Path, sizes: Iterable[int], place: Path) -> None:
    needed, free = sum(sizes), shutil.disk_usage(place).free
    if needed > free:
        raise DownloadError(
            f"{archive}: needs {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free"
        )


def _move(place: Path, folder: Path) -> None:
    """Give unpacked files their places."""
    for root, folders, files in os.walk(place):
        target = folder / Path(root).relative_to(place)
        target.mkdir(parents=True, exist_ok=True)
        for name in folders:
            (target / name).mkdir(exist_ok=True)
        for name in files:
            os.replace(Path(root) / name, target / name)


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(inner, (OSError, str)):
        return _reason(inner) if isinstance(inner, OSError) else inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    file = getattr(error, "filename", None)
    return " ".join(f"{text}: {file}".split() if file else str(text).split())


def _bar() -> Progress:
    columns: Tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)

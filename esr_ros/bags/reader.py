"""Reading a bag, as ``ros2 bag`` records it; of a damaged one, what can be read."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Type

import zstandard
from rosbags.interfaces import Connection

from esr_core.errors import EsrError
from esr_ros.annotation.worker import COMPRESSED, IMAGE
from esr_ros.bags import metadata
from esr_ros.bags.metadata import BagMetadata, BagMetadataError
from esr_ros.bags.storage_file import StorageFile

#: The files that hold messages, by their ending, and what ROS calls that form.
STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}
#: How a compressed message or file begins; a message that is not begins with 0.
_ZSTD, _ZSTD_ENDING = b"\x28\xb5\x2f\xfd", ".zstd"

_UNTOLD = BagMetadata([], [], {})

#: Connection, time of the recording in ns, content.
Message = Tuple[Connection, int, bytes]


class BagError(EsrError):
    """A bag that cannot be read, or that is not what was asked for."""


class BagReader:
    """A folder with ``metadata.yaml``, or a single ``.mcap`` or ``.db3`` file; use it in ``with``.

    ``connections`` are its topics; one that was offered in several ways is there repeatedly.
    ``damage`` is what could not be read so far, in words.

    Raises:
        BagError: there is no bag, or nothing of it can be read.
        OSError: it may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._damage: List[str] = []
        metadata = self._metadata() if path.is_dir() else _UNTOLD
        self.files = self._files(metadata)
        self.storage = STORAGES[_storage_ending(self.files[0])]
        self._parts: List[Tuple[str, StorageFile]] = []  # with the names of the files
        with ExitStack() as stack:
            for file in self.files:
                self._parts.append((file.name, StorageFile(self._unpacked(file, stack))))
            self.connections = self._connections(metadata)
            self._stack = stack.pop_all()

    @property
    def damage(self) -> List[str]:
        """What could not be read so far, in words."""
        parts = [f"{name}: {said}" for name, part in self._parts for said in part.damage]
        return [*parts, *self._damage]

    def note_damage(self, said: str) -> None:
        """Add to ``damage`` what somebody who looked into the messages found."""
        if said not in self._damage:
            self._damage.append(said)

    def _metadata(self) -> BagMetadata:
        """Return what ``metadata.yaml`` says; nothing if it is not there or cannot be read."""
        try:
            return metadata.read(self.path) or _UNTOLD
        except BagMetadataError as error:
            self.note_damage(str(error))
            return _UNTOLD

    def _files(self, metadata: BagMetadata) -> List[Path]:
        """Return the files that hold messages, in their order."""
        found = _held(self.path)
        if metadata is not _UNTOLD:
            there = {file.name: file for file in found}
            listed = [there[name] for name in dict.fromkeys(metadata.files) if name in there]
            for name in metadata.files:
                if name not in there:
                    self.note_damage(f"{name} is not there")
            for file in found if listed else ():
                if file not in listed:
                    self.note_damage(f"{file.name} is not in metadata.yaml, and left out")
            return listed or found
        if len(found) > 1:
            together = ", ".join(file.name for file in found)
            self.note_damage(f"without metadata.yaml; taken for parts of one recording: {together}")
        return found

    def _unpacked(self, file: Path, stack: ExitStack) -> Path:
        """Return a file, or of one that was compressed as a whole, one that is not."""
        if file.suffix != _ZSTD_ENDING:
            return file
        target = Path(stack.enter_context(TemporaryDirectory())) / file.stem
        with open(file, "rb") as packed, open(target, "wb") as unpacked:
            reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            try:
                shutil.copyfileobj(reader, unpacked, 1 << 20)
            except OSError as error:
                raise BagError(
                    f"{file}: cannot be unpacked into {target.parent} ({error.strerror}); with "
                    "TMPDIR you name another folder"
                ) from error
            except zstandard.ZstdError as error:
                self.note_damage(f"{file.name}: cannot be decompressed to its end ({error})")
        return target

    def _connections(self, metadata: BagMetadata) -> List[Connection]:
        """Return the topics of all files together.

        Raises:
            BagError: there are none.
        """
        found: Dict[Any, Connection] = {}
        for _, part in self._parts:
            for each in part.connections:
                known = found.get(_key(each), each._replace(id=len(found) + 1, msgcount=0))
                found[_key(each)] = known._replace(msgcount=known.msgcount + each.msgcount)
        if not found:
            if self.damage:
                raise BagError(f"{self.path}: not a bag that can be read ({self.damage[0]})")
            raise BagError(f"{self.path}: an empty bag; nothing was recorded")
        counts: Counter[Tuple[str, str]] = Counter()
        for each in found.values():
            counts[each.topic, each.msgtype] += each.msgcount
        digests = {}
        for topic, kind, digest, count in metadata.topics:
            digests[topic, kind] = digest
            if counts[topic, kind] < count:
                self.note_damage(
                    f"metadata.yaml counts {count} messages on {topic}, but "
                    f"{counts[topic, kind]} are there"
                )
        return [
            each._replace(digest=each.digest or digests.get((each.topic, each.msgtype), ""))
            for each in found.values()
        ]

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._stack.close()

    @property
    def cameras(self) -> List[str]:
        """The topics with images from cameras."""
        return list(dict.fromkeys(each.topic for each in self.connections if is_image(each)))

    def image_topics(self, asked: Sequence[str] = ()) -> List[str]:
        """Return the image topics that were asked for, or the only one there is.

        Raises:
            BagError: there are none, or several, or none of that name.
        """
        there = self.cameras
        if not there:
            kinds = sorted({each.msgtype for each in self.connections})
            raise BagError(f"{self.path}: no images in it, only {', '.join(kinds)}")
        return chosen(self.path, "image", there, asked)

    def messages(self, connections: Sequence[Connection]) -> Iterator[Message]:
        """Yield the messages of these connections, file by file, by time where there is an index.

        What is damaged is left out and noted in ``damage``.

        Raises:
            BagError: it can no longer be read at all: the disk is gone.
        """
        wanted = {_key(each): each for each in connections}
        for name, part in self._parts:
            numbers = {
                each.id: wanted[_key(each)] for each in part.connections if _key(each) in wanted
            }
            lost = 0
            try:
                for number, time_ns, data in part.messages(numbers):
                    content = _decompressed(data) if data[:4] == _ZSTD else data
                    if content is None:
                        lost += 1
                    else:
                        yield numbers[number], time_ns, content
            except OSError as error:
                raise BagError(f"{self.path}: {error.strerror}") from error
            if lost:
                self.note_damage(f"{name}: {lost} messages cannot be decompressed")


def chosen(path: Path, kind: str, there: Sequence[str], asked: Sequence[str]) -> List[str]:
    """Return those topics of a kind (``image``) that were asked for, or the only one there is.

    Raises:
        BagError: there are several and none was asked for, or none of that name.
    """
    if not asked and len(there) > 1:
        raise BagError(
            f"{path}: has several {kind} topics; give --topic {', --topic '.join(there)}"
        )
    for name in asked:
        if name not in there:
            raise BagError(f"{path}: no {kind}s on {name}, only on {', '.join(there)}")
    return list(dict.fromkeys(asked)) or list(there)


def is_image(connection: Connection) -> bool:
    """Whether it is from a camera: no depth, nothing that this package has drawn on."""
    not_cameras = ("/compressedDepth", "/theora", "emotion/image", "emotion/image/compressed")
    is_image = connection.msgtype in (IMAGE, COMPRESSED)
    return is_image and not connection.topic.endswith(not_cameras)


def _key(connection: Connection) -> Any:
    return connection.topic, connection.msgtype, str(connection.ext)


def _decompressed(data: bytes) -> Optional[bytes]:
    """Return a message that was compressed by itself; None if it is damaged."""
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError:
        return None


def _storage_ending(file: Path) -> str:
    """Return the ending of a file that tells its form, whether it is compressed or not."""
    return Path(file.stem).suffix if file.suffix == _ZSTD_ENDING else file.suffix


def _held(path: Path) -> List[Path]:
    """Return the files of a bag that hold messages."""
    if not path.exists():
        raise BagError(f"{path}: there is no such bag")
    if path.suffix == ".bag":
        raise BagError(f"{path}: a bag of ROS 1; 'rosbags-convert' makes a ROS 2 bag of it")
    files = sorted(path.iterdir(), key=_natural) if path.is_dir() else [path]
    held = [file for file in files if file.is_file() and _storage_ending(file) in STORAGES]
    unpacked = {file.name for file in held}
    held = [file for file in held if file.suffix != _ZSTD_ENDING or file.stem not in unpacked]
    if not held:
        hint = f"; of the bags in it, give {path}/*" if any(path.glob("*/metadata.yaml")) else ""
        raise BagError(
            f"{path}: not a bag; one is a folder with .mcap or .db3 files, or such a file{hint}"
        )
    if all(file.stat().st_size == 0 for file in held):
        raise BagError(f"{path}: an empty bag; nothing was recorded")
    return held


def _natural(path: Path) -> List[Any]:
    """walk_2.mcap before walk_10.mcap"""
    words = "".join(c if c.isdigit() else " " for c in path.name).split()
    return [len(words), [int(word) for word in words], path.name]

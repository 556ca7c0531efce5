"""A reader of bags of ``ros2 bag``; of a damaged bag, it returns the readable parts."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, closing, suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Generator, Iterator, List, Optional, Sequence, Tuple

import zstandard
from rosbags.interfaces import Connection

from esr_core.errors import EsrError
from esr_ros.bags import cdr, metadata
from esr_ros.bags.cdr import COMPRESSED, IMAGE
from esr_ros.bags.mcap_writer import OWN_KEY, OWN_RECORD
from esr_ros.bags.metadata import BagMetadata, BagMetadataError
from esr_ros.bags.storage_file import StorageFile, open_storage

#: The files that hold messages, by their ending, and the name of that storage in ROS.
STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}
#: The first bytes of a compressed message or file; other messages begin with 0.
_ZSTD, _ZSTD_ENDING = b"\x28\xb5\x2f\xfd", ".zstd"

#: Encodings of depth images, in metres and millimetres (REP 118).
DEPTH_ENCODINGS = ("32FC1", "16UC1")

#: Connection, time of the recording in ns, content.
Message = Tuple[Connection, int, bytes]


class BagError(EsrError):
    """A bag that cannot be read, or that lacks the requested topics."""


class BagReader:
    """A folder with ``metadata.yaml``, or a single ``.mcap`` or ``.db3`` file; use it in ``with``.

    ``connections`` are its topics; one that was offered with several QoS is there repeatedly.
    Raises BagError if there is no bag, or nothing of it can be read; OSError if it may not be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._damage: List[str] = []
        self._noted: Optional[BagMetadata] = None
        try:
            self._noted = metadata.read(path)
        except BagMetadataError as error:
            self.note_damage(str(error))
        self.files = self._files()
        self.storage = STORAGES[_storage_ending(self.files[0])]
        self._parts: List[Tuple[str, StorageFile]] = []  # with the names of the files
        with ExitStack() as stack:
            for file in self.files:
                self._parts.append((file.name, open_storage(self._unpacked(file, stack))))
            self.connections = self._connections()
            self._stack = stack.pop_all()

    @property
    def damage(self) -> List[str]:
        """Return descriptions of the parts that could not be read so far."""
        parts = [f"{name}: {text}" for name, part in self._parts for text in part.damage]
        return [*parts, *self._damage]

    def note_damage(self, text: str) -> None:
        """Add a description to ``damage``."""
        if text not in self._damage:
            self._damage.append(text)

    def _files(self) -> List[Path]:
        found = {file.name: file for file in _storage_files(self.path)}
        listed = dict.fromkeys(self._noted.files) if self._noted else {}
        for name in [name for name in found if name + _ZSTD_ENDING in found]:
            # 'ros2 bag play' leaves what it has decompressed so far beside the original; a recorder
            # that was killed, what it has compressed so far, and no metadata.
            del found[name if name + _ZSTD_ENDING in listed else name + _ZSTD_ENDING]
        if self._noted is None and len(found) > 1:
            names = ", ".join(found)
            self.note_damage(f"without metadata.yaml; taken for parts of one recording: {names}")
        for name in listed:
            if name not in found:
                self.note_damage(f"{name} is not there")
        used = [name for name in listed if name in found] or list(found)
        for name in found:
            if name not in used:
                self.note_damage(f"{name} is not in metadata.yaml, and left out")
        return [found[name] for name in used]

    def _unpacked(self, file: Path, stack: ExitStack) -> Path:
        """Return a file, or the decompressed copy of one that was compressed as a whole."""
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

    def _connections(self) -> List[Connection]:
        found: Dict[Any, Connection] = {}
        for each in (each for _, part in self._parts for each in part.connections):
            known = found.get(_key(each), each._replace(id=len(found) + 1, msgcount=0))
            found[_key(each)] = known._replace(msgcount=known.msgcount + each.msgcount)
        if not found:
            why = "an empty bag; nothing was recorded"
            if self.damage:
                why = f"not a bag that can be read ({self.damage[0]})"
            raise BagError(f"{self.path}: {why}")
        for topic, kind, digest, count in self._noted.topics if self._noted else ():
            own = [key for key in found if key[:2] == (topic, kind)]
            there = sum(found[key].msgcount for key in own)
            if there < count:
                self.note_damage(
                    f"metadata.yaml counts {count} messages on {topic}, but {there} are there"
                )
            for key in own:
                found[key] = found[key]._replace(digest=found[key].digest or digest)
        return list(found.values())

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @cached_property
    def cameras(self) -> List[str]:
        """Return the topics with images of cameras: no depth, nothing drawn by this package."""
        found = [topic for topic in self._images() if self._encoding(topic) not in DEPTH_ENCODINGS]
        return [topic for topic in found if "depth" not in topic.split("/")] or found

    def _images(self) -> List[str]:
        return list(dict.fromkeys(each.topic for each in self.connections if is_image(each)))

    def _encoding(self, topic: str) -> str:
        """Return the encoding of a topic's first image; empty if that cannot be read."""
        connections = [each for each in self.connections if each.topic == topic]
        with closing(self.messages(connections)) as messages:
            for connection, _, data in messages:
                with suppress(cdr.MessageError):
                    image = cdr.read(data, connection.msgtype)
                    # image_transport writes "16UC1; png compressed" for a compressed one.
                    return str(getattr(image, "encoding", "") or image.format.partition(";")[0])
                break
        return ""

    def image_topics(self, requested: Sequence[str] = ()) -> List[str]:
        """Return the requested image topics, or the only one of a camera; else BagError."""
        images = self._images()
        if not (self.cameras or requested):
            kinds = ", ".join(sorted({each.msgtype for each in self.connections}))
            found = f"depth on {', '.join(images)}" if images else kinds
            raise BagError(f"{self.path}: no images in it, only {found}")
        named = [name for name in requested if name in images]
        return chosen(self.path, "image", [*self.cameras, *named], requested)

    def custom_data(self) -> Dict[str, str]:
        """Return the recorder's custom data; without metadata.yaml, as the files repeat it."""
        if self._noted:
            return self._noted.custom
        repeated = {}
        for record in self._records():
            if record.name == OWN_RECORD:
                repeated.update(metadata.custom_data(record.metadata.get(OWN_KEY, "")))
        return repeated

    def records(self) -> Iterator[Any]:
        """Yield attachments and metadata records of MCAP files, as :mod:`mcap.records`."""
        return (each for each in self._records() if each.name != OWN_RECORD)

    def _records(self) -> Iterator[Any]:
        return chain.from_iterable(part.records() for _, part in self._parts)

    def messages(self, connections: Sequence[Connection]) -> Generator[Message, None, None]:
        """Yield the messages of these connections, file by file, by time where there is an index.

        Damaged messages are left out and noted in ``damage``. BagError: the disk is gone.
        """
        wanted = {_key(each): each for each in connections}
        for name, part in self._parts:
            there = [each for each in part.connections if _key(each) in wanted]
            numbers = {each.id: wanted[_key(each)] for each in there}
            lost = 0
            try:
                for number, time_ns, data in part.messages(numbers):
                    if data[:4] == _ZSTD:
                        try:
                            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
                        except zstandard.ZstdError:
                            lost += 1
                            continue
                    yield numbers[number], time_ns, data
            except OSError as error:
                raise BagError(f"{self.path}: {error.strerror}") from error
            if lost:
                self.note_damage(f"{name}: {lost} messages cannot be decompressed")


def chosen(path: Path, kind: str, topics: Sequence[str], requested: Sequence[str]) -> List[str]:
    """Return the requested topics of a kind (``image``), or the only one; else BagError."""
    if not requested and len(topics) > 1:
        raise BagError(
            f"{path}: has several {kind} topics; give --topic {', --topic '.join(topics)}"
        )
    for name in requested:
        if name not in topics:
            raise BagError(f"{path}: no {kind}s on {name}, only on {', '.join(topics)}")
    return list(dict.fromkeys(requested)) or list(topics)


def is_image(connection: Connection) -> bool:
    """Return whether a topic has images: no compressed depth, nothing drawn by this package."""
    not_cameras = ("/compressedDepth", "/theora", "emotion/image", "emotion/image/compressed")
    return connection.msgtype in (IMAGE, COMPRESSED) and not connection.topic.endswith(not_cameras)


def _key(connection: Connection) -> Any:
    return connection.topic, connection.msgtype, str(connection.ext)


def _storage_ending(file: Path) -> str:
    return Path(file.stem).suffix if file.suffix == _ZSTD_ENDING else file.suffix


def _storage_files(path: Path) -> List[Path]:
    if not path.exists():
        raise BagError(f"{path}: there is no such bag")
    if path.suffix == ".bag":
        raise BagError(f"{path}: a bag of ROS 1; 'rosbags-convert' makes a ROS 2 bag of it")
    files = sorted(path.iterdir(), key=_natural) if path.is_dir() else [path]
    files = [file for file in files if file.is_file() and _storage_ending(file) in STORAGES]
    if not files:
        hint = f"; of the bags in it, give {path}/*" if any(path.glob("*/metadata.yaml")) else ""
        raise BagError(
            f"{path}: not a bag; one is a folder with .mcap or .db3 files, or such a file{hint}"
        )
    if all(file.stat().st_size == 0 for file in files):
        raise BagError(f"{path}: an empty bag; nothing was recorded")
    return files


def _natural(path: Path) -> List[Any]:
    """Return the sort key that puts walk_2.mcap before walk_10.mcap."""
    words = "".join(c if c.isdecimal() else " " for c in path.name).split()
    return [len(words), [int(word) for word in words], path.name]

"""Reading a bag, as ``ros2 bag`` records it; of a damaged one, what can be read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Type

import apsw
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError

from esr_core.errors import EsrError
from esr_ros.salvage import UNREADABLE, Salvage
from esr_ros.watcher import COMPRESSED, IMAGE

#: The files that hold messages, by their ending, and what ROS calls that form.
STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}
#: What rosbags raises for a file that is not as it should be.
_DAMAGED = (*UNREADABLE, ReaderError, apsw.Error)

#: Connection, time of the recording in ns, content.
Message = Tuple[Connection, int, bytes]


class BagError(EsrError):
    """A bag that cannot be read, or that is not what was asked for."""


class Bag:
    """A folder with ``metadata.yaml``, or a single ``.mcap`` or ``.db3`` file; use it in ``with``.

    ``connections`` are its topics; one that several nodes published on may be there repeatedly.
    ``damage`` is what could not be read so far, in words.

    Raises:
        BagError: there is no bag, or nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = _files(path)
        self.storage = STORAGES[self.files[0].suffix.replace(".zstd", "") or ".mcap"]
        self.damage: List[str] = []
        self._reader: Optional[Reader] = None
        self._salvage: List[Salvage] = []
        self._open()

    def _open(self) -> None:
        try:
            # Recorders that were killed leave one file without metadata.yaml.
            is_alone = len(self.files) == 1 and not (self.path / "metadata.yaml").exists()
            self._reader = Reader(self.files[0] if is_alone else self.path)
            self._reader.open()
            self.connections = list(self._reader.connections)
        except PermissionError as error:
            raise BagError(f"{self.path}: {error.strerror}") from error
        except (FileNotFoundError, *_DAMAGED) as error:
            self._reader = None
            self._open_damaged(error)
        if not self.connections:
            raise BagError(f"{self.path}: an empty bag; nothing was recorded")

    def _open_damaged(self, error: Exception) -> None:
        damage = self._begin_salvage()
        connections = [each for part in self._salvage for each in part.connections]
        if not connections:
            raise BagError(f"{self.path}: not a bag that can be read ({error})") from error
        found: Dict[Any, Connection] = {}
        for each in connections:
            known = found.get(_key(each))
            count = each.msgcount + (known.msgcount if known else 0)
            found[_key(each)] = (known or each)._replace(msgcount=count)
        self.connections = list(found.values())
        if len(self.files) > 1 and not (self.path / "metadata.yaml").exists():
            together = ", ".join(file.name for file in self.files)
            damage.append(f"without metadata.yaml; taken for parts of one recording: {together}")
        self.damage += damage or [f"without a proper end or metadata.yaml ({error})"]

    def _begin_salvage(self) -> List[str]:
        """Look for what is left in the files; return what cannot be read."""
        self._salvage = [Salvage(file) for file in self.files if file.suffix in STORAGES]
        return [f"{part.path.name}: {said}" for part in self._salvage for said in part.damage]

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._reader:
            with suppress(*_DAMAGED):
                self._reader.close()

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
        """Yield the messages of these connections, by time.

        What is damaged is left out and noted in ``damage``.

        Raises:
            BagError: it can no longer be read at all: the disk is gone.
        """
        wanted = {_key(each): each for each in connections}
        last_ns, at_last = -1, 0
        if self._reader:
            try:
                for connection, time_ns, data in self._reader.messages(connections):
                    at_last = at_last + 1 if time_ns == last_ns else 1
                    last_ns = time_ns
                    yield connection, time_ns, bytes(data)
                return
            except OSError as error:
                raise BagError(f"{self.path}: {error.strerror}") from error
            except _DAMAGED:
                self.damage += self._begin_salvage()
        for part in self._salvage:
            known = {each.id: wanted.get(_key(each)) for each in part.connections}
            for number, time_ns, data in part.messages():
                found = known[number]
                if found is None or time_ns < last_ns:
                    continue  # not asked for, or told before the damage showed
                if time_ns == last_ns and at_last:
                    at_last -= 1
                    continue
                yield found, time_ns, data


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


def _files(path: Path) -> List[Path]:
    """Return the files of a bag that hold messages."""
    if not path.exists():
        raise BagError(f"{path}: there is no such bag")
    if path.suffix == ".bag":
        raise BagError(f"{path}: a bag of ROS 1; 'rosbags-convert' makes a ROS 2 bag of it")
    files = sorted(path.iterdir(), key=_natural) if path.is_dir() else [path]
    endings: Set[str] = {*STORAGES, *(f"{ending}.zstd" for ending in STORAGES)}
    held = [
        file
        for file in files
        if file.is_file() and "".join(file.suffixes[-2:]).endswith(tuple(endings))
    ]
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

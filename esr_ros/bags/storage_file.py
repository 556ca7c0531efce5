"""One file of a bag: read by its index, or where that fails, from its beginning."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Collection, Iterator, List, Optional

import apsw
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.storage_mcap import McapReader

from esr_ros.bags.recovery import UNREADABLE, BagRecovery, Item

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError  # novm
else:
    from backports.zstd import ZstdError

#: What rosbags raises for a file that is not as it should be.
_DAMAGED = (*UNREADABLE, ReaderError, ZstdError, apsw.Error)
#: In an SQLite database's path rosbags takes them for the syntax of a URI.
ODD_IN_PATHS = "#?%"


def is_odd(path: Path) -> bool:
    """Whether rosbags would take a part of an SQLite database's path for something else."""
    return bool(set(ODD_IN_PATHS) & set(str(path)))


class StorageFile:
    """An ``.mcap`` or ``.db3`` file.

    ``connections`` are its topics, with the number of their messages. ``damage`` is what could not
    be read so far, in words.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError if it cannot be opened."""
        self.path = path
        self.damage: List[str] = []
        self._salvage: Optional[BagRecovery] = None
        with open(path, "rb"):
            pass  # else it would be said to be damaged
        # Closed until it is read: a bag may have more files than may be open.
        with self._index() as reader:
            self._has_index = reader is not None
            found = reader or self._begin_salvage()
            self.connections: List[Connection] = list(found.connections)
        wal = path.with_name(path.name + "-wal")
        if path.suffix == ".db3" and wal.is_file() and wal.stat().st_size:
            self._note(
                f'what was recorded last is in {wal.name} and not read; "sqlite3 {path.name} '
                "'PRAGMA wal_checkpoint'\" brings it in"
            )

    @contextmanager
    def _index(self) -> Iterator[Optional[Reader]]:
        """Open what reads it by its index; None if that does not tell of all that is in it."""
        reader = Reader(self.path)
        is_open = False
        if not (self.path.suffix == ".db3" and is_odd(self.path)):
            with suppress(*_DAMAGED):
                reader.open()
                is_open = True
        try:
            yield reader if is_open and _tells_all(reader) else None
        finally:
            if is_open:
                with suppress(*_DAMAGED):
                    reader.close()

    def _begin_salvage(self) -> BagRecovery:
        """Look through all of it, for what can be read."""
        if self._salvage is None:
            self._salvage = BagRecovery(self.path)
            for said in self._salvage.damage:
                self._note(said)
        return self._salvage

    def _note(self, said: str) -> None:
        if said not in self.damage:
            self.damage.append(said)

    def messages(self, numbers: Collection[int]) -> Iterator[Item]:
        """Yield the messages of the connections with these ids, once each.

        By time where there is an index. What is damaged is left out, and noted.
        """
        told = _Told()
        if self._has_index:
            with self._index() as reader, suppress(*_DAMAGED):
                yield from self._by_index(reader, numbers, told)
                return
        for item in self._begin_salvage().messages():
            if item[0] in numbers and not told.has(item):
                told.counts[item[0]] += 1
                yield item
        self._compare(numbers, told)

    def _by_index(
        self, reader: Optional[Reader], numbers: Collection[int], told: _Told
    ) -> Iterator[Item]:
        if reader is None:
            raise ReaderError("the index has gone")
        wanted = [each for each in reader.connections if each.id in numbers]
        for connection, time_ns, data in reader.messages(wanted) if wanted else ():
            told.add(connection.id, time_ns)
            yield connection.id, time_ns, data
        self._compare(numbers, told)

    def _compare(self, numbers: Collection[int], told: _Told) -> None:
        for each in self.connections:
            missing = each.msgcount - told.counts[each.id]
            if each.id in numbers and missing > 0:
                self._note(f"{missing} of {each.msgcount} messages on {each.topic} are missing")


class _Told:
    """Which messages were told by an index, before it failed."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()  # by number of the connection
        self._last_ns = -(2**63) - 1  # before all times
        self._at_last: Counter[int] = Counter()

    def add(self, number: int, time_ns: int) -> None:
        """Note a message."""
        self.counts[number] += 1
        if time_ns != self._last_ns:
            self._last_ns = time_ns
            self._at_last.clear()
        self._at_last[number] += 1

    def has(self, item: Item) -> bool:
        """Whether a message, of those that come in the order of the file, was told; ask once."""
        number, time_ns, _ = item
        if time_ns != self._last_ns:
            return time_ns < self._last_ns
        self._at_last[number] -= 1
        return self._at_last[number] >= 0


def _tells_all(reader: Reader) -> bool:
    """Whether an index has all the messages that the file says it has, and what they are."""
    storage = reader.storage
    if not reader.connections:
        return False
    if isinstance(storage, McapReader):
        # Without an index rosbags would go through the file as well, but want it to be by time.
        indexed = sum(sum(chunk.channel_count.values()) for chunk in storage.chunks)
        known = (each.msgdef.format != MessageDefinitionFormat.NONE for each in reader.connections)
        return indexed == reader.message_count > 0 and all(known)
    return True

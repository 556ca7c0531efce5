"""One file of a bag: read by its index, or sequentially where the index is damaged."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Collection, Dict, Iterator, List, Optional

import apsw
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.storage_mcap import McapReader

from esr_ros.bags.mcap_writer import OWN_KEY, OWN_RECORD, SCHEMALESS
from esr_ros.bags.recovery import (
    UNREADABLE,
    Item,
    has_whole_summary,
    records,
    scan,
    sqlite_metadata,
)

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError  # novm
else:
    from backports.zstd import ZstdError

#: Errors of rosbags for damaged files.
_DAMAGED = (*UNREADABLE, ReaderError, ZstdError, apsw.Error)
#: Characters that rosbags takes for the syntax of a URI in the path of an SQLite database.
ODD_IN_PATHS = "#?%"


def is_odd(path: Path) -> bool:
    """Return whether rosbags cannot open an SQLite database at a path."""
    return bool(set(ODD_IN_PATHS) & set(str(path)))


class StorageFile:
    """An ``.mcap`` or ``.db3`` file.

    ``connections``: its topics, with message counts. ``damage``: what could not be read so far.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError if it cannot be opened."""
        self.path = path
        self.damage: List[str] = []
        self._found: Dict[int, Connection] = {}  # by the scans
        open(path, "rb").close()  # rosbags would report damage
        # Closed until it is read: a bag may have more files than a process may open.
        with self._index() as reader:
            self._has_index = reader is not None and has_whole_summary(path)
            if reader and not self._has_index:
                self._note("its index is not as written")
            indexed = list(reader.connections) if reader else []
            self.connections = indexed if self._has_index else self._scanned()
        wal = path.with_name(path.name + "-wal")
        if path.suffix == ".db3" and wal.is_file() and wal.stat().st_size:
            self._note(
                f'what was recorded last is in {wal.name} and not read; "sqlite3 {path.name} '
                "'PRAGMA wal_checkpoint'\" brings it in"
            )

    @contextmanager
    def _index(self) -> Iterator[Optional[Reader]]:
        """Open the indexed reader; None if the index is damaged or incomplete."""
        reader = Reader(self.path)
        if not (self.path.suffix == ".db3" and is_odd(self.path)):
            with suppress(*_DAMAGED):
                reader.open()
        try:
            yield reader if reader.is_open and _is_complete(reader) else None
        finally:
            with suppress(*_DAMAGED):  # among them: that it is not open
                reader.close()

    def _scanned(self) -> List[Connection]:
        counts = Counter(number for number, _, _ in scan(self.path, self._found, self._note))
        return [each._replace(msgcount=counts[number]) for number, each in self._found.items()]

    def _note(self, text: str) -> None:
        if text not in self.damage:
            self.damage.append(text)

    def records(self) -> Iterator[Any]:
        """Yield the attachments and metadata records, of which SQLite has none."""
        if self.path.suffix == ".mcap":
            for record in records(self.path, self._note):
                if record.name != OWN_RECORD:
                    yield record

    def repeated_metadata(self) -> str:
        """Return the metadata that the recorder repeats in the file; empty if there is none."""
        if self.path.suffix == ".db3":
            return sqlite_metadata(self.path)
        found = [each for each in records(self.path, self._note) if each.name == OWN_RECORD]
        return str(found[-1].metadata.get(OWN_KEY, "")) if found else ""

    def messages(self, numbers: Collection[int]) -> Iterator[Item]:
        """Yield the messages of the connections with these ids, once each.

        By time where there is an index. Damaged messages are left out and noted.
        """
        counts: Counter[int] = Counter()  # by number of the connection
        for item in self._readable(numbers):
            counts[item[0]] += 1
            yield item
        for each in self.connections:
            missing = each.msgcount - counts[each.id]
            if each.id in numbers and missing > 0:
                self._note(f"{missing} of {each.msgcount} messages on {each.topic} are missing")

    def _readable(self, numbers: Collection[int]) -> Iterator[Item]:
        at_last: Counter[int] = Counter()  # messages at the time of the last one, by connection
        last_ns = -(2**63) - 1  # before all times
        if self._has_index:
            with self._index() as reader, suppress(*_DAMAGED):
                if reader is None:
                    raise ReaderError("the index has gone")
                wanted = [each for each in reader.connections if each.id in numbers]
                for connection, time_ns, data in reader.messages(wanted) if wanted else ():
                    if time_ns != last_ns:
                        last_ns = time_ns
                        at_last.clear()
                    at_last[connection.id] += 1
                    yield connection.id, time_ns, data
                return
        # In the order of the file, without those that the index yielded before it failed.
        for number, time_ns, data in scan(self.path, self._found, self._note):
            if time_ns == last_ns:
                at_last[number] -= 1
            is_new = time_ns > last_ns or (time_ns == last_ns and at_last[number] < 0)
            if is_new and number in numbers:
                yield number, time_ns, data


def _is_complete(reader: Reader) -> bool:
    """Return whether an index has all messages that the file counts, with their types."""
    storage = reader.storage
    if not reader.connections:
        return False
    if isinstance(storage, McapReader):
        # Without an index rosbags would scan the file as well, but expect it to be by time.
        indexed = sum(sum(chunk.channel_count.values()) for chunk in storage.chunks)
        known = all(each.msgtype != SCHEMALESS for each in reader.connections)
        is_counted = reader.message_count > 0 or not storage.chunks
        return indexed == reader.message_count and is_counted and known
    return True

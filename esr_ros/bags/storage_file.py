"""One file of a bag: read by its index, or sequentially where the index is damaged."""

from __future__ import annotations

import sqlite3
import struct
import sys
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import closing, contextmanager, suppress
from io import SEEK_END, BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Tuple
from zlib import crc32

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import FOOTER_SIZE
from mcap.records import Attachment, Channel, Chunk, Footer, Message, Metadata, Schema
from mcap.stream_reader import MAGIC_SIZE, StreamReader, breakup_chunk
from mcap.writer import MCAP0_MAGIC
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos
from rosbags.rosbag2.storage_mcap import McapReader

from esr_ros.bags.mcap_writer import OWN_KEY, OWN_RECORD, SCHEMALESS

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError  # novm
else:
    from backports.zstd import ZstdError

#: Errors of the libraries for invalid content: their own, those of Python that wrong lengths and
#: bytes lead to, and those of the decompressors.
UNREADABLE = (
    *(McapError, ReaderError, sqlite3.Error, struct.error, ZstdError, zstandard.ZstdError),
    *(ArithmeticError, AssertionError, EOFError, LookupError, MemoryError, RuntimeError, TypeError),
    ValueError,
)
#: Longer records are invalid.
LONGEST_BYTES = 2**31
#: After that many unreadable rows the scan of a database ends.
MOST_ROWS_SKIPPED = 10_000
_IDL = MessageDefinitionFormat.IDL
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": _IDL, "omgidl": _IDL}

#: Number of the connection, time in ns, content.
Item = Tuple[int, int, bytes]


class StorageFile(ABC):
    """An ``.mcap`` or ``.db3`` file, opened by :func:`open_storage`.

    ``connections``: its topics, with message counts. ``damage``: what could not be read so far.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError if it cannot be opened."""
        self.path = path
        self.damage: List[str] = []
        self._found: Dict[int, Connection] = {}
        # Closed until it is read: a bag may have more files than a process may open.
        open(path, "rb").close()
        indexed = self._indexed()
        self._has_index = indexed is not None
        counts = Counter(number for number, _, _ in self._scan()) if indexed is None else {}
        self.connections = indexed or self._counted(counts)

    @abstractmethod
    def _indexed(self) -> Optional[List[Connection]]:
        """Return the connections with their message counts; None if the index is damaged."""

    @abstractmethod
    def _by_index(self, numbers: Collection[int]) -> Iterator[Item]:
        """Yield the messages of these connections by time; UNREADABLE where one is damaged."""

    @abstractmethod
    def _scan(self) -> Iterator[Item]:
        """Yield all readable messages as written, and add their connections on the way."""

    @abstractmethod
    def records(self) -> Iterator[Any]:
        """Yield attachments and metadata records; SQLite has only the one of the recorder."""

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
            with suppress(*UNREADABLE):
                for item in self._by_index(numbers):
                    if item[1] != last_ns:
                        last_ns = item[1]
                        at_last.clear()
                    at_last[item[0]] += 1
                    yield item
                return
        # In the order of the file, without those that the index yielded before it failed.
        for number, time_ns, data in self._scan():
            if time_ns == last_ns:
                at_last[number] -= 1
            is_new = time_ns > last_ns or (time_ns == last_ns and at_last[number] < 0)
            if is_new and number in numbers:
                yield number, time_ns, data

    def _counted(self, counts: Mapping[int, int]) -> List[Connection]:
        return [each._replace(msgcount=counts.get(each.id, 0)) for each in self._found.values()]

    def _note(self, text: str) -> None:
        if text not in self.damage:
            self.damage.append(text)

    def _add(
        self, number: int, topic: str, kind: str, encoding: str, text: str, form: str, qos: Any
    ) -> None:
        if number not in self._found:
            ext = ConnectionExtRosbag2(form, [])
            with suppress(*UNREADABLE):  # messages are readable without their QoS
                ext = ext._replace(offered_qos_profiles=parse_qos(qos))
            form_of_text = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
            definition = MessageDefinition(form_of_text, text)
            self._found[number] = Connection(number, topic, kind, definition, "", 0, ext, None)


_NO_SCHEMA = Schema(id=0, name=SCHEMALESS, encoding="", data=b"")
#: Opcode and length before a record, and the size of a checksum.
_HEAD, _CRC_SIZE = struct.Struct("<BQ"), 4
#: The records with messages and without, and how they are named where they cannot be read.
_DATA = {
    **{Opcode.SCHEMA: "a schema", Opcode.CHANNEL: "a channel", Opcode.MESSAGE: "a message"},
    Opcode.CHUNK: "{:.2f} s of it",
}
_EXTRAS = {Opcode.ATTACHMENT: "an attachment", Opcode.METADATA: "a metadata record"}


class McapFile(StorageFile):
    """A file of https://mcap.dev."""

    def _indexed(self) -> Optional[List[Connection]]:
        with suppress(*UNREADABLE), self._index() as index:
            total = index.metadata.message_count
            entries = sum(sum(chunk.channel_count.values()) for chunk in index.chunks)
            kinds = {each.msgtype for each in index.connections}
            # Without entries the library would read all messages, and expect them to be by time.
            if not kinds or SCHEMALESS in kinds or entries != total or (index.chunks and not total):
                return None
            if not _has_whole_summary(self.path):
                self._note("its index is not as written")
                return None
            return list(index.connections)
        return None

    @contextmanager
    def _index(self) -> Iterator[McapReader]:
        reader = McapReader(self.path)
        reader.open()
        with closing(reader):
            yield reader

    def _by_index(self, numbers: Collection[int]) -> Iterator[Item]:
        with self._index() as index:
            wanted = [each for each in index.connections if each.id in numbers]
            for connection, time_ns, data in index.messages(wanted):
                yield connection.id, time_ns, data

    def _scan(self) -> Iterator[Item]:
        schemas = {0: _NO_SCHEMA}
        for record in self._as_written(_DATA):
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel) and record.schema_id in schemas:
                schema = schemas[record.schema_id]
                qos = record.metadata.get("offered_qos_profiles", "")
                kind = (schema.name, schema.encoding, schema.data.decode(errors="replace"))
                self._add(record.id, record.topic, *kind, record.message_encoding, qos)
            elif isinstance(record, Message) and record.channel_id in self._found:
                yield record.channel_id, record.log_time, record.data

    def records(self) -> Iterator[Any]:
        """Yield the attachments and metadata records."""
        return self._as_written(_EXTRAS)

    def _as_written(self, names: Mapping[Opcode, str]) -> Iterator[Any]:
        """Yield the named kinds of records, up to the summary, which repeats them."""
        size = self.path.stat().st_size
        with open(self.path, "rb") as stream:
            if stream.read(MAGIC_SIZE) != MCAP0_MAGIC:
                self._note("it is no MCAP file")
                return
            while True:
                begin = stream.tell()
                head = stream.read(_HEAD.size)
                opcode, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, size)
                if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                    return
                end = begin + _HEAD.size + length
                if end > size or length > LONGEST_BYTES:
                    self._note(f"it ends at byte {begin} of {size}, in the middle")
                    return
                if opcode in names:
                    content = stream.read(length)
                    try:
                        yield from _parsed(head + content)
                    except UNREADABLE:
                        first_ns, last_ns = struct.unpack("<QQ", content[:16].ljust(16, b"\0"))
                        named = names[opcode].format((last_ns - first_ns) * 1e-9)  # of a chunk
                        verb = "are" if opcode == Opcode.CHUNK else "is"
                        self._note(f"{named}, at byte {begin}, {verb} not as written")
                stream.seek(end)


def _parsed(data: bytes) -> List[Any]:
    """Return a record; of a chunk those inside, the messages by time."""
    record = next(StreamReader(BytesIO(data), skip_magic=True, emit_chunks=True).records)
    if isinstance(record, Chunk):
        inside = breakup_chunk(record, validate_crc=True)
        return sorted(inside, key=lambda each: getattr(each, "log_time", -1))
    crc = int.from_bytes(data[-_CRC_SIZE:], "little")  # which the library ignores
    if isinstance(record, Attachment) and crc not in (0, crc32(data[_HEAD.size : -_CRC_SIZE])):
        raise ValueError(crc)
    return [record]


def _has_whole_summary(path: Path) -> bool:
    """Return False if the index of an MCAP file is not as written; rosbags does not check it."""
    with open(path, "rb") as stream:
        stream.seek(_HEAD.size - FOOTER_SIZE - MAGIC_SIZE, SEEK_END)
        footer = Footer.read(ReadDataStream(stream))
        stream.seek(footer.summary_start)
        summary = stream.read()[: -(_CRC_SIZE + MAGIC_SIZE)]  # all up to the checksum itself
    return bool(footer.summary_crc in (0, crc32(summary)))


#: Numbers of all messages and the valid ones, by topic.
_COUNTS = (
    "SELECT topic_id, count(*), sum(typeof(timestamp) = 'integer' AND typeof(data) = 'blob') "
    "FROM messages GROUP BY topic_id"
)
_NEXT_ROW = "SELECT id, topic_id, timestamp, data FROM messages WHERE id >= ? ORDER BY id LIMIT 1"


class SqliteFile(StorageFile):
    """A database of any version of ROS."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        wal = path.with_name(path.name + "-wal")
        if wal.is_file() and wal.stat().st_size:
            self._note(
                f'what was recorded last is in {wal.name} and not read; "sqlite3 {path.name} '
                "'PRAGMA wal_checkpoint'\" brings it in"
            )

    def _database(self) -> closing[sqlite3.Connection]:
        """Open the database, which is only read."""
        uri = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        return closing(sqlite3.connect(uri, uri=True))

    def _indexed(self) -> Optional[List[Connection]]:
        with suppress(sqlite3.Error), self._database() as database:
            self._read_topics(database)
            rows = database.execute(_COUNTS).fetchall()
            if all(number in self._found and count == valid for number, count, valid in rows):
                return self._counted({number: count for number, count, _ in rows})
        return None

    def _by_index(self, numbers: Collection[int]) -> Iterator[Item]:
        marks = ", ".join("?" * len(numbers))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks})"
        with self._database() as database:
            yield from database.execute(f"{query} ORDER BY timestamp", list(numbers))

    def _scan(self) -> Iterator[Item]:
        lost = 0
        try:
            with self._database() as database:
                # SQLite refuses a truncated file otherwise; nothing is written here.
                database.execute("PRAGMA writable_schema = ON")
                self._read_topics(database)
                for row in self._rows(database):
                    if tuple(map(type, row)) == (int, int, bytes) and row[0] in self._found:
                        yield row[0], row[1], row[2]
                    else:
                        lost += 1
        except sqlite3.Error as error:
            self._note(f"it is no database of messages ({error})")
        if lost:
            self._note(f"{lost} messages cannot be read")

    def _rows(self, database: sqlite3.Connection) -> Iterator[Tuple[Any, ...]]:
        """Yield the rows by id; an empty one for each that cannot be read."""
        last = skipped = 0
        while skipped < MOST_ROWS_SKIPPED:
            try:
                # One by one: where a row cannot be read, the cursor loses the one before.
                row = database.execute(_NEXT_ROW, (last + 1 + skipped,)).fetchone()
                if row is None:
                    break
                if row[0] <= last:
                    raise sqlite3.DatabaseError("out of order")
                yield from repeat((), skipped)
                last, skipped = row[0], 0
                yield row[1:]
            except (sqlite3.DatabaseError, OverflowError):  # of a wrong id
                skipped += 1
        if skipped:
            self._note(f"after message {last} nothing can be read")

    def _read_topics(self, database: sqlite3.Connection) -> None:
        definitions = {}
        with suppress(sqlite3.Error):  # up to Humble there is no such table
            columns = "topic_type, encoding, encoded_message_definition"
            for kind, *definition in database.execute(f"SELECT {columns} FROM message_definitions"):
                definitions[kind] = definition
        rows = database.execute("SELECT * FROM topics")
        names = [column[0] for column in rows.description]
        for row in (dict(zip(names, values)) for values in rows):
            number, kind, form = row["id"], row["type"], row["serialization_format"]
            if all(isinstance(each, str) for each in (row["name"], kind, form)):
                encoding, text = definitions.get(kind, ("", ""))
                qos = row.get("offered_qos_profiles", "")
                self._add(number, row["name"], kind, encoding, text, form, qos)
                digest = row.get("type_description_hash", "")
                self._found[number] = self._found[number]._replace(digest=digest)

    def records(self) -> Iterator[Any]:
        """Yield the recorder's own data as metadata records."""
        with suppress(sqlite3.Error), self._database() as database:
            for row in database.execute("SELECT metadata FROM metadata ORDER BY id"):
                yield Metadata(OWN_RECORD, {OWN_KEY: str(row[0])})


def open_storage(path: Path) -> StorageFile:
    """Open a file by its ending; OSError if it cannot be opened."""
    return SqliteFile(path) if path.suffix == ".db3" else McapFile(path)

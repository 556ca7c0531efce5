"""Recovery of damaged bag files: a sequential scan, in the order in which they were written."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing, suppress
from io import SEEK_END, BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple
from zlib import crc32

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import FOOTER_SIZE
from mcap.records import Attachment, Channel, Chunk, DataEnd, Footer, Message, Metadata, Schema
from mcap.stream_reader import MAGIC_SIZE, StreamReader, breakup_chunk
from mcap.writer import MCAP0_MAGIC
from rosbags import interfaces
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos

from esr_ros.bags.mcap_writer import SCHEMALESS

#: Errors of the two libraries for invalid content: their own, those of Python that wrong lengths
#: and bytes lead to, and those of the decompressors.
UNREADABLE = (
    McapError,
    sqlite3.Error,
    struct.error,
    *(ArithmeticError, AssertionError, EOFError, LookupError, MemoryError, RuntimeError, TypeError),
    ValueError,
    zstandard.ZstdError,
)
#: Longer records are invalid.
LONGEST_BYTES = 2**31
#: After that many unreadable rows the scan of a database ends.
MOST_ROWS_SKIPPED = 10_000
_ROWS = "SELECT id, topic_id, timestamp, data FROM messages"
_LOST_ROW = (0, None, None, None)
_FORMATS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}
_NO_SCHEMA = Schema(id=0, name=SCHEMALESS, encoding="", data=b"")
#: Opcode and length before a record, and the size of a checksum.
_HEAD, CRC_SIZE = struct.Struct("<BQ"), 4

#: Number of the connection, time in ns, content.
Item = Tuple[int, int, bytes]
Found = Dict[int, Connection]
#: Takes the description of a part that cannot be read.
Note = Callable[[str], None]


def scan(path: Path, found: Found, note: Note) -> Iterator[Item]:
    """Yield the readable messages of a file, and add its connections to ``found`` on the way."""
    return (_sqlite_messages if path.suffix == ".db3" else _mcap_messages)(path, found, note)


def _connection(
    number: int, topic: str, kind: str, encoding: str, text: str, serialization: str, qos: Any
) -> Connection:
    ext = ConnectionExtRosbag2(serialization, [])
    with suppress(*UNREADABLE, ReaderError):  # messages are readable without their QoS
        ext = ConnectionExtRosbag2(serialization, parse_qos(qos))
    form = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
    definition = interfaces.MessageDefinition(form, text)
    return Connection(number, topic, kind, definition, "", 0, ext, None)


def _mcap_messages(path: Path, found: Found, note: Note) -> Iterator[Item]:
    schemas: Dict[int, Schema] = {0: _NO_SCHEMA}
    for record in _mcap_records(path, note):
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel) and record.schema_id in schemas:
            schema, qos = schemas[record.schema_id], record.metadata.get("offered_qos_profiles", "")
            kind = (schema.name, schema.encoding, schema.data.decode(errors="replace"))
            connection = _connection(record.id, record.topic, *kind, record.message_encoding, qos)
            found.setdefault(record.id, connection)
        elif isinstance(record, Message) and record.channel_id in found:
            yield record.channel_id, record.log_time, record.data


def _mcap_records(path: Path, note: Note) -> Iterator[Any]:
    """Yield the records of a file; those of a chunk with its messages by time."""
    with open(path, "rb") as stream:
        if stream.read(MAGIC_SIZE) != MCAP0_MAGIC:
            note("it is no MCAP file")
            return
        stream.seek(0)
        records = StreamReader(stream, emit_chunks=True, record_size_limit=LONGEST_BYTES).records
        while True:
            begin = stream.tell()
            try:
                record = next(records, None)
            except UNREADABLE:
                note(f"it ends at byte {begin} of {path.stat().st_size}, in the middle")
                return
            if record is None or isinstance(record, DataEnd):
                return  # the summary after the data repeats the records
            if not isinstance(record, Chunk):
                yield record
                continue
            try:
                inside = breakup_chunk(record, validate_crc=True)
            except UNREADABLE:
                seconds = (record.message_end_time - record.message_start_time) * 1e-9
                note(f"{seconds:.2f} s of it, at byte {begin}, are not as written")
            else:
                yield from sorted(inside, key=lambda each: getattr(each, "log_time", -1))


def records(path: Path, note: Note) -> Iterator[Any]:
    """Yield the attachments and metadata records of an MCAP file."""
    with open(path, "rb") as stream:
        stream.seek(MAGIC_SIZE)
        head = stream.read(_HEAD.size)
        while len(head) == _HEAD.size:
            opcode, length = _HEAD.unpack(head)
            if opcode == Opcode.DATA_END or length > LONGEST_BYTES:
                return
            begin = stream.tell()
            try:
                if opcode == Opcode.ATTACHMENT:
                    content = stream.read(length)
                    crc = int.from_bytes(content[-CRC_SIZE:], "little")
                    if crc not in (0, crc32(content[:-CRC_SIZE])):
                        raise ValueError(crc)
                    yield Attachment.read(ReadDataStream(BytesIO(content)))
                elif opcode == Opcode.METADATA:
                    yield Metadata.read(ReadDataStream(BytesIO(stream.read(length))))
            except UNREADABLE:
                kind = "an attachment" if opcode == Opcode.ATTACHMENT else "a metadata record"
                note(f"{kind}, at byte {begin}, is not as written")
            stream.seek(begin + length)
            head = stream.read(_HEAD.size)


def has_whole_summary(path: Path) -> bool:
    """Return False if the index of an MCAP file is not as written; rosbags does not check it."""
    if path.suffix != ".mcap":
        return True
    with open(path, "rb") as stream:
        stream.seek(_HEAD.size - FOOTER_SIZE - MAGIC_SIZE, SEEK_END)
        footer = Footer.read(ReadDataStream(stream))
        stream.seek(footer.summary_start)
        # All that follows, up to the checksum itself.
        summary = stream.read()[: -(CRC_SIZE + MAGIC_SIZE)]
    return bool(footer.summary_crc in (0, crc32(summary)))


def sqlite_metadata(path: Path) -> str:
    """Return the metadata that an SQLite file repeats; empty if there is none."""
    with suppress(sqlite3.Error), closing(_database(path)) as database:
        row = database.execute("SELECT metadata FROM metadata ORDER BY id DESC").fetchone()
        return str(row[0]) if row else ""
    return ""


def _database(path: Path) -> sqlite3.Connection:
    """Open a database that is only read."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _sqlite_messages(path: Path, found: Found, note: Note) -> Iterator[Item]:
    lost = 0
    try:
        with closing(_database(path)) as database:
            # SQLite refuses a truncated file otherwise; nothing is written here.
            database.execute("PRAGMA writable_schema = ON")
            _read_topics(database, found)
            for _, *item in _readable_rows(database, note):
                if list(map(type, item)) == [int, int, bytes] and item[0] in found:
                    yield item[0], item[1], item[2]
                else:
                    lost += 1
    except sqlite3.Error as error:
        note(f"it is no database of messages ({error})")
    if lost:
        note(f"{lost} messages cannot be read")


def _readable_rows(database: sqlite3.Connection, note: Note) -> Iterator[Any]:
    """Yield the rows by id, and _LOST_ROW for each that cannot be read."""
    last = 0
    while True:
        try:
            for row in database.execute(f"{_ROWS} WHERE id > ? ORDER BY id", (last,)):
                if row[0] <= last:
                    raise sqlite3.DatabaseError("out of order")
                last = row[0]
                yield row
            return
        except sqlite3.DatabaseError:
            row = _next_readable(database, last)
            if row is None:
                note(f"after message {last} nothing can be read")
                return
            yield from repeat(_LOST_ROW, row[0] - last - 1)
            last = row[0]  # to get on, whatever the next query returns
            yield row


def _next_readable(database: sqlite3.Connection, last: int) -> Any:
    for number in range(last + 1, last + 1 + MOST_ROWS_SKIPPED):
        with suppress(sqlite3.DatabaseError):
            row = database.execute(f"{_ROWS} WHERE id = ?", (number,)).fetchone()
            if row is not None and row[0] == number:
                return row
    return None


def _read_topics(database: sqlite3.Connection, found: Found) -> None:
    """Read the connections of a database of any version of ROS."""
    database.row_factory = sqlite3.Row
    definitions = {}
    with suppress(sqlite3.Error):  # up to Humble there is no such table
        columns = "topic_type, encoding, encoded_message_definition"
        for kind, *definition in database.execute(f"SELECT {columns} FROM message_definitions"):
            definitions[kind] = definition
    for row in map(dict, database.execute("SELECT * FROM topics")):
        number, name, kind, form = map(
            row.__getitem__, ("id", "name", "type", "serialization_format")
        )
        if all(isinstance(each, str) for each in (name, kind, form)):
            encoding, text = definitions.get(kind, ("", ""))
            qos = row.get("offered_qos_profiles", "")
            connection = _connection(number, name, kind, encoding, text, form, qos)
            found[number] = connection._replace(digest=row.get("type_description_hash", ""))
    database.row_factory = None

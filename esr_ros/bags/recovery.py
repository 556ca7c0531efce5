"""Recovery of damaged bag files: a sequential scan, in the order in which they were written."""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from contextlib import closing, suppress
from itertools import repeat
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, DataEnd, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos

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
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}

#: Number of the connection, time in ns, content.
Item = Tuple[int, int, bytes]


class BagRecovery:
    """A sequential reader of one file; ``damage`` describes the parts that cannot be read."""

    def __init__(self, path: Path) -> None:
        """Scan the whole file."""
        self.path = path
        self.damage: List[str] = []
        self._found: Dict[int, Connection] = {}
        counts = Counter(number for number, _, _ in self._items())
        self.connections = [
            each._replace(msgcount=counts[number]) for number, each in self._found.items()
        ]

    def messages(self) -> Iterator[Item]:
        """Yield the readable messages."""
        damage, self.damage = self.damage, []
        yield from self._items()
        self.damage = damage

    def _items(self) -> Iterator[Item]:
        return self._rows() if self.path.suffix == ".db3" else self._records()

    def _add(
        self,
        number: int,
        topic: str,
        kind: str,
        definition: MessageDefinition,
        serialization: str,
        qos: Any,
        digest: str = "",
    ) -> None:
        profiles = []
        with suppress(*UNREADABLE, ReaderError):  # messages are readable without their QoS
            profiles = parse_qos(qos)
        ext = ConnectionExtRosbag2(serialization, profiles)
        self._found[number] = Connection(number, topic, kind, definition, digest, 0, ext, self)

    # --- mcap ----------------------------------------------------------------------------------

    def _records(self) -> Iterator[Item]:
        schemas: Dict[int, Schema] = {}
        with open(self.path, "rb") as stream:
            records = StreamReader(
                stream, emit_chunks=True, record_size_limit=LONGEST_BYTES
            ).records
            while True:
                begin = stream.tell()
                try:
                    record = next(records)
                except StopIteration:
                    return
                except UNREADABLE:
                    size = self.path.stat().st_size
                    self.damage.append(f"it ends at byte {begin} of {size}, in the middle")
                    return
                if isinstance(record, DataEnd):
                    return  # the summary after it repeats the records
                yield from self._known(self._of_chunk(record, begin), schemas)

    def _of_chunk(self, record: Any, begin: int) -> List[Any]:
        """Return the records of a chunk with its messages by time, or the record itself."""
        if not isinstance(record, Chunk):
            return [record]
        try:
            inside = breakup_chunk(record, validate_crc=True)
        except UNREADABLE:
            seconds = (record.message_end_time - record.message_start_time) * 1e-9
            self.damage.append(f"{seconds:.2f} s of it, at byte {begin}, are not as written")
            return []
        return sorted(inside, key=lambda each: getattr(each, "log_time", -1))

    def _known(self, records: List[Any], schemas: Dict[int, Schema]) -> Iterator[Item]:
        for record in records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel) and record.schema_id in schemas:
                if record.id not in self._found:
                    schema = schemas[record.schema_id]
                    self._add(
                        record.id,
                        record.topic,
                        schema.name,
                        _definition(schema.encoding, schema.data.decode(errors="replace")),
                        qos=record.metadata.get("offered_qos_profiles", ""),
                        serialization=record.message_encoding,
                    )
            elif isinstance(record, Message) and record.channel_id in self._found:
                yield record.channel_id, record.log_time, record.data

    # --- sqlite3 -------------------------------------------------------------------------------

    def _rows(self) -> Iterator[Item]:
        address = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        lost = 0
        try:
            with closing(sqlite3.connect(address, uri=True)) as database:
                # SQLite refuses a truncated file otherwise; nothing is written here.
                database.execute("PRAGMA writable_schema = ON")
                self._read_topics(database)
                for _, topic, time_ns, data in self._readable_rows(database):
                    is_valid = isinstance(time_ns, int) and isinstance(data, bytes)
                    if is_valid and isinstance(topic, int) and topic in self._found:
                        yield topic, time_ns, data
                    else:
                        lost += 1
        except sqlite3.Error as error:
            self.damage.append(f"it is no database of messages ({error})")
        if lost:
            self.damage.append(f"{lost} messages cannot be read")

    def _readable_rows(self, database: sqlite3.Connection) -> Iterator[Any]:
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
                    self.damage.append(f"after message {last} nothing can be read")
                    return
                yield from repeat(_LOST_ROW, row[0] - last - 1)
                last = row[0]  # to get on, whatever the next query returns
                yield row

    def _read_topics(self, database: sqlite3.Connection) -> None:
        """Read the connections of a database of any version of ROS."""
        database.row_factory = _as_dict
        definitions = {}
        with suppress(sqlite3.Error):  # up to Humble there is no such table
            for row in database.execute("SELECT * FROM message_definitions"):
                text = row["encoded_message_definition"]
                definitions[row["topic_type"]] = _definition(row["encoding"], text)
        for row in database.execute("SELECT * FROM topics"):
            name, kind, form = row["name"], row["type"], row["serialization_format"]
            if all(isinstance(text, str) for text in (name, kind, form)):
                self._add(
                    row["id"],
                    name,
                    kind,
                    definitions.get(kind, _definition("", "")),
                    qos=row.get("offered_qos_profiles", ""),
                    serialization=form,
                    digest=row.get("type_description_hash", ""),
                )
        database.row_factory = None


def _as_dict(cursor: sqlite3.Cursor, row: Tuple[Any, ...]) -> Dict[str, Any]:
    return dict(zip((column[0] for column in cursor.description), row))


def _definition(encoding: str, text: str) -> MessageDefinition:
    return MessageDefinition(_FORMATS.get(encoding, MessageDefinitionFormat.NONE), text)


def _next_readable(database: sqlite3.Connection, last: int) -> Any:
    """Return the next readable row after message ``last``."""
    for number in range(last + 1, last + 1 + MOST_ROWS_SKIPPED):
        with suppress(sqlite3.DatabaseError):
            row = database.execute(f"{_ROWS} WHERE id = ?", (number,)).fetchone()
            if row is not None and row[0] == number:
                return row
    return None

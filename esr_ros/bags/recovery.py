"""What can still be read of a damaged file of a bag, in the order in which it was written."""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, DataEnd, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos

#: What the two libraries raise for content that cannot be: besides their own errors, those of
#: Python that wrong lengths and bytes lead to, and those of the decompressors.
UNREADABLE = (
    McapError,
    sqlite3.Error,
    struct.error,
    *(ArithmeticError, AssertionError, EOFError, LookupError, MemoryError, RuntimeError, TypeError),
    ValueError,
    zstandard.ZstdError,
)

#: A record that claims to be longer is not one.
LONGEST_BYTES = 2**31
#: So many rows in a row that cannot be read are the end.
MOST_ROWS_SKIPPED = 10_000
_MESSAGES = "SELECT id, topic_id, timestamp, data FROM messages"

_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}

#: Number of the connection, time in ns, content.
Item = Tuple[int, int, bytes]


class _Kind(NamedTuple):
    """A connection, before its messages are counted."""

    topic: str
    type: str
    definition: MessageDefinition
    digest: str
    qos: str
    serialization: str


class BagRecovery:
    """Reads one file from its beginning; ``damage`` says what could not be read."""

    def __init__(self, path: Path) -> None:
        """Look through the whole file, for what is in it."""
        self.path = path
        self.damage: List[str] = []
        self._kinds: Dict[int, _Kind] = {}
        counts = Counter(number for number, _, _ in self._items())
        self.connections = [
            Connection(
                number,
                kind.topic,
                kind.type,
                kind.definition,
                kind.digest,
                counts[number],
                ConnectionExtRosbag2(kind.serialization, _qos(kind.qos)),
                self,
            )
            for number, kind in self._kinds.items()
        ]

    def messages(self) -> Iterator[Item]:
        """Yield what can be read."""
        damage, self.damage = self.damage, []
        yield from self._items()
        self.damage = damage

    def _items(self) -> Iterator[Item]:
        return self._rows() if self.path.suffix == ".db3" else self._records()

    # --- mcap ----------------------------------------------------------------------------------

    def _records(self) -> Iterator[Item]:
        schemas: Dict[int, Schema] = {}
        with open(self.path, "rb") as stream:
            reader = StreamReader(stream, emit_chunks=True, record_size_limit=LONGEST_BYTES)
            records = reader.records
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
                    return  # what follows tells the same once more
                yield from self._known(self._of_chunk(record, begin), schemas)

    def _of_chunk(self, record: Any, begin: int) -> List[Any]:
        """Return the records of a chunk, by time, or the record itself."""
        if not isinstance(record, Chunk):
            return [record]
        try:
            inside = breakup_chunk(record, validate_crc=True)
        except UNREADABLE:
            seconds = (record.message_end_time - record.message_start_time) * 1e-9
            self.damage.append(f"{seconds:.2f} s of it, at byte {begin}, are not as written")
            return []
        messages = [each for each in inside if isinstance(each, Message)]
        others = [each for each in inside if not isinstance(each, Message)]
        return [*others, *sorted(messages, key=lambda each: each.log_time)]

    def _known(self, records: List[Any], schemas: Dict[int, Schema]) -> Iterator[Item]:
        for record in records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel) and record.schema_id in schemas:
                self._kinds.setdefault(record.id, _kind(record, schemas[record.schema_id]))
            elif isinstance(record, Message) and record.channel_id in self._kinds:
                yield record.channel_id, record.log_time, record.data

    # --- sqlite3 -------------------------------------------------------------------------------

    def _rows(self) -> Iterator[Item]:
        address = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(address, uri=True)) as database:
                # Else SQLite refuses a file that is shorter than it was; nothing is written here.
                database.execute("PRAGMA writable_schema = ON")
                self._kinds.update(_topics(database))
                yield from self._messages(database)
        except sqlite3.Error as error:
            self.damage.append(f"it is no database of messages ({error})")

    def _messages(self, database: sqlite3.Connection) -> Iterator[Item]:
        last, lost = 0, 0
        while True:
            try:
                for row in database.execute(f"{_MESSAGES} WHERE id > ? ORDER BY id", (last,)):
                    if row[0] <= last:
                        raise sqlite3.DatabaseError("out of order")
                    last = row[0]
                    if self._is_message(row):
                        yield row[1:]
                    else:
                        lost += 1
                break
            except sqlite3.DatabaseError:
                row = _next_readable(database, last)
                if row is None:
                    self.damage.append(f"after message {last} nothing can be read")
                    break
                lost += row[0] - last - 1
                last = row[0]  # so that it goes on, whatever the next query says
                if self._is_message(row):
                    yield row[1:]
                else:
                    lost += 1
        if lost:
            self.damage.append(f"{lost} messages cannot be read")

    def _is_message(self, row: Any) -> bool:
        _, topic, time_ns, data = row
        is_of_topic = isinstance(topic, int) and topic in self._kinds
        return is_of_topic and isinstance(time_ns, int) and isinstance(data, bytes)


def _qos(text: Any) -> List[Qos]:
    """Return how a topic was offered; nothing if that cannot be read, as its messages still can."""
    try:
        return parse_qos(text)
    except (*UNREADABLE, ReaderError):
        return []


def _kind(channel: Channel, schema: Schema) -> _Kind:
    form = _FORMATS.get(schema.encoding, MessageDefinitionFormat.NONE)
    definition = MessageDefinition(form, schema.data.decode(errors="replace"))
    qos = channel.metadata.get("offered_qos_profiles", "")
    return _Kind(channel.topic, schema.name, definition, "", qos, channel.message_encoding)


def _topics(database: sqlite3.Connection) -> Dict[int, _Kind]:
    """Return the connections of a database, of any version of ROS."""
    database.row_factory = sqlite3.Row
    try:
        rows = database.execute("SELECT * FROM message_definitions").fetchall()
        definitions = {row["topic_type"]: row for row in rows}
    except sqlite3.Error:  # up to Humble there are none
        definitions = {}
    kinds = {}
    for row in database.execute("SELECT * FROM topics"):
        definition = MessageDefinition(MessageDefinitionFormat.NONE, "")
        if row["type"] in definitions:
            found = definitions[row["type"]]
            form = _FORMATS.get(found["encoding"], MessageDefinitionFormat.NONE)
            definition = MessageDefinition(form, found["encoded_message_definition"])
        known = row.keys()
        qos = row["offered_qos_profiles"] if "offered_qos_profiles" in known else ""
        digest = row["type_description_hash"] if "type_description_hash" in known else ""
        form = row["serialization_format"]
        if all(isinstance(text, str) for text in (row["name"], row["type"], form)):
            kinds[row["id"]] = _Kind(row["name"], row["type"], definition, digest, qos, form)
    database.row_factory = None
    return kinds


def _next_readable(database: sqlite3.Connection, last: int) -> Any:
    """Return the next row after message ``last`` that can be read."""
    for number in range(last + 1, last + 1 + MOST_ROWS_SKIPPED):
        with suppress(sqlite3.DatabaseError):
            row = database.execute(f"{_MESSAGES} WHERE id = ?", (number,)).fetchone()
            if row is not None and row[0] == number:
                return row
    return None

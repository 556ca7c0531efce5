"""MCAP files by Foxglove's library: with checksums, attachments and metadata records."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Tuple, Union

from mcap.records import Attachment
from mcap.writer import CompressionType, Writer
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat

#: The name that rosbags gives to the type of a channel without a schema.
SCHEMALESS = "__schemaless__"
#: The metadata record in which rosbag2 repeats ``metadata.yaml``, and its key.
OWN_RECORD, OWN_KEY = "rosbag2", "serialized_metadata"
_ENCODINGS = {MessageDefinitionFormat.MSG: "ros2msg", MessageDefinitionFormat.IDL: "ros2idl"}


class McapWriter:
    """A storage of :class:`rosbags.rosbag2.Writer`, whose own one writes no checksums."""

    def __init__(self, path: Path, compression: Any) -> None:
        """path: the folder. compression: not used."""
        self.path = path / f"{path.name}.mcap"
        self._stream = open(self.path, "xb")  # noqa: SIM115 - closed by rosbags
        self._writer = Writer(self._stream, compression=CompressionType.NONE)
        self._writer.start("ros2")
        self._schemas: Dict[Tuple[str, str, str], int] = {(SCHEMALESS, "", ""): 0}
        self._channels: Dict[int, int] = {}  # by number of the connection

    def add_msgtype(self, connection: Connection) -> None:
        """Do nothing: two topics may have different definitions of a type."""

    def add_connection(self, connection: Connection, offered_qos_profiles: str) -> None:
        """Add a channel, and its schema unless that is there; the encoding of no text is empty."""
        text = connection.msgdef.data
        encoding = _ENCODINGS[connection.msgdef.format] if text else ""
        schema = (connection.msgtype, encoding, text)
        if schema not in self._schemas:
            self._schemas[schema] = self._writer.register_schema(*schema[:2], text.encode())
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        notes = {"offered_qos_profiles": offered_qos_profiles, "topic_type_hash": connection.digest}
        self._channels[connection.id] = self._writer.register_channel(
            connection.topic, connection.ext.serialization_format, self._schemas[schema], notes
        )

    def add_record(self, record: Any) -> None:
        """Write an attachment or a metadata record."""
        if isinstance(record, Attachment):
            self._writer.add_attachment(**vars(record))
        else:
            self._writer.add_metadata(*vars(record).values())

    def write(self, connection: Connection, timestamp: int, data: Union[bytes, memoryview]) -> None:
        """Write a message; timestamp: in ns."""
        number = self._channels[connection.id]
        self._writer.add_message(number, timestamp, bytes(data), timestamp)

    def close(self, version: int, metadata: str) -> None:
        """Write the metadata and the index; version: of the metadata, which has it as well."""
        self._writer.add_metadata(OWN_RECORD, {OWN_KEY: metadata})
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._stream.close()

    def abort(self) -> None:
        """Close the file without its end."""
        self._stream.close()
